"""A trained model on disk: weights, configuration, category table, card, metrics and curve.

DIR/model.json              the heads' configuration with the category table, the backbone's card,
                            the model's (what made it, and its ids), the names of the other files
DIR/backbone-DIGEST.pt      the backbone's state dict, with the batch norms set of a random one
DIR/heads-DIGEST.pt         the heads' state dict
DIR/metrics-DIGEST.csv      loss and validation accuracy of every epoch; curve-DIGEST.png shows them

A file is named by the digest of its content, so that no file of an earlier model is ever written
over: renaming model.json is the moment at which the folder holds another model.
"""

import csv
import errno
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from completelook.files import sha256, sync, write_text
from matplotlib.figure import Figure

from completelook_build.backbones import (
    Backbone,
    BackboneCard,
    Network,
    rebuild_network,
    weights_id,
)
from completelook_build.console import say
from completelook_build.errors import ModelError, WeightsError
from completelook_build.heads import CompatibilityHeads, HeadsConfig, name_of_not_finite
from completelook_build.training.checkpoint import read_tensors
from completelook_build.training.loop import Epoch

_NAMES = ("backbone.pt", "heads.pt", "metrics.csv", "curve.png")
_DIGITS = 16  # of a digest, in a name
_BESIDE = ".saving-"
_WAY_ON = "train it anew with completelook-build train"


@dataclass(frozen=True)
class TrainedModel:
    """A backbone and the heads that were trained on it."""

    network: Network
    heads: CompatibilityHeads
    config: HeadsConfig
    card: Mapping[str, Any]

    @property
    def heads_id(self) -> int:
        """The id of the heads' weights and categories."""
        return heads_id(self.heads, self.config)

    def backbone(self, precision: str = "fp32") -> Backbone:
        """The backbone as it is served."""
        return Backbone(self.network, precision)


def heads_id(heads: CompatibilityHeads, config: HeadsConfig) -> int:
    """63 bits over the heads' weights and the category table that their rows mean."""
    return weights_id(heads, *config.categories)


def save_model(out: Path, model: TrainedModel, history: tuple[Epoch, ...]) -> None:
    """Write a model folder; until the whole of it is on disk, the folder is the earlier model's.

    Raises ModelError where the folder cannot be written.
    """
    writers: dict[str, Callable[[Path], None]] = {
        "backbone.pt": lambda path: torch.save(model.network.module.state_dict(), path),
        "heads.pt": lambda path: torch.save(model.heads.state_dict(), path),
        "metrics.csv": lambda path: _write_metrics(path, history),
        "curve.png": lambda path: _draw_curve(history, path),
    }
    ids = _ids(model)
    ids["model_id"] = ids["backbone_id"] ^ ids["heads_id"]
    card = {**model.card, **{name: f"{value:016x}" for name, value in ids.items()}}
    try:
        out.mkdir(parents=True, exist_ok=True)
        try:
            files = {name: _store(out, name, write) for name, write in writers.items()}
            content = {
                "heads": asdict(model.config),
                "backbone": asdict(model.network.card),
                "card": card,
                "files": files,
            }
            write_text(out / "model.json", json.dumps(content, indent=2) + "\n")
        finally:
            _remove_others(out)
    except (OSError, RuntimeError) as error:  # torch makes a RuntimeError of a full disk
        raise ModelError(f"{out}: the model cannot be written ({error})") from error


def _store(folder: Path, name: str, write: Callable[[Path], None]) -> str:
    """Write a file, then name it by its digest; what it is called."""
    stem, suffix = name.split(".")
    with TemporaryDirectory(dir=folder, prefix=_BESIDE) as beside:
        path = Path(beside, name)
        write(path)
        stored = folder / f"{stem}-{sha256(path)[:_DIGITS]}.{suffix}"
        sync(path)
        path.replace(stored)
    return stored.name


def _remove_others(folder: Path) -> None:
    """Remove what the model in the folder does not name: an earlier one, or parts of one."""
    try:
        named = set(_read_card(folder)["files"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # nothing that would tell which files are a model's
    for path in folder.glob(f"{_BESIDE}*"):
        shutil.rmtree(path)
    for stem, suffix in (name.split(".") for name in _NAMES):
        for path in folder.glob(f"{stem}-{'?' * _DIGITS}.{suffix}"):
            if path.name not in named:
                path.unlink()


def _read_card(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return content


def load_model(folder: Path) -> TrainedModel:
    """Read a model folder.

    Raises ModelError where it is missing, incomplete or damaged, its files do not belong together,
    or a weight is not finite.
    """
    try:
        content = _read_card(folder)
        card, files = content["card"], content["files"]
        config = HeadsConfig(
            **{**content["heads"], "categories": tuple(content["heads"]["categories"])}
        )
        heads = CompatibilityHeads(config)
        heads.load_state_dict(read_tensors(folder / files["heads.pt"]))
        backbone = BackboneCard.from_json(content["backbone"])
        network = _read_network(backbone, folder / files["backbone.pt"])
        described = {name: card[name] for name in ("backbone_id", "heads_id")}
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder}: not a model folder, {Path(error.filename).name} is missing; "
            "completelook-build train --out DIR makes one"
        ) from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{folder}: the model cannot be read ({reason}); {_WAY_ON}") from error
    model = TrainedModel(network, heads.eval(), config, card)
    for name, value in _ids(model).items():
        if described[name] != f"{value:016x}":
            raise ModelError(
                f"{folder}: {name} is {value:016x}, but model.json describes {described[name]}: "
                f"the files are not of one model; {_WAY_ON}"
            )
    for part in (network.module, heads):
        if (weight := name_of_not_finite(part)) is not None:
            raise ModelError(f"{folder}: {weight} holds a value that is not finite; {_WAY_ON}")
    if backbone.is_random:
        say(backbone.as_text())
    return model


def _ids(model: TrainedModel) -> dict[str, int]:
    return {"backbone_id": model.network.id("fp32"), "heads_id": model.heads_id}


def _read_network(card: BackboneCard, path: Path) -> Network:
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        return rebuild_network(card, path)
    except WeightsError as error:
        raise ValueError(str(error)) from error


def versions() -> dict[str, str]:
    """What the card says of the software that made a model."""
    packages = ("completelook", "torch", "torchvision", "numpy", "pillow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def _write_metrics(path: Path, history: tuple[Epoch, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["epoch", "loss", "validation_accuracy"])
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)


def _draw_curve(history: Sequence[Epoch], path: Path) -> None:
    """Draw loss and validation accuracy side by side, the kept epoch marked."""
    best = max(history, key=lambda epoch: epoch.validation_accuracy)
    epochs = [epoch.epoch for epoch in history]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [epoch.loss for epoch in history], color="#b5523b")
    loss.set(title="Triplet loss, training", xlabel="epoch")
    accuracy.plot(epochs, [epoch.validation_accuracy for epoch in history], color="#2f6f73")
    accuracy.plot(best.epoch, best.validation_accuracy, "o", color="#2f6f73")
    accuracy.annotate(
        f"{best.validation_accuracy:.3f}",
        (best.epoch, best.validation_accuracy),
        textcoords="offset points",
        xytext=(0, -14),
        ha="center",
    )
    accuracy.set(title="Pairwise accuracy, held-out scenes", xlabel="epoch")
    for axes in (loss, accuracy):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=150)
