"""Any model of timm with a map of stride 16: convolutional ones, and the tokens of transformers.

DINOv2, CLIP and SigLIP are among them. `timm:NAME` downloads the weights that timm knows,
`timm:NAME@FILE` reads a state dict. Regions are the last map of a stride of 14 to 16, brought to
14 x 14 where it is not; the pooled vector is what the model's classifier would have got.
"""

import difflib
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from completelook.contract import IMAGE_SIZE, REGION_GRID
from torch import Tensor, nn
from torch.nn import functional

from completelook_build.backbones.network import BackboneCard, Network
from completelook_build.backbones.staged import Pooling, mean_and_deviation
from completelook_build.backbones.weights import EXTRA, WAYS_ON, read_state_dict
from completelook_build.errors import WeightsError

FAMILY = "timm"
_STRIDES = (14, 15, 16)  # DINOv2's patches are 14 pixels wide


def import_timm() -> ModuleType:
    """timm, where it is installed. Raises WeightsError."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"timm, which has this architecture, is not installed: {EXTRA}"
        ) from error
    return timm


class TimmModel(nn.Module):
    """A model of timm without its classifier."""

    must_be_traced = True  # its list of intermediate maps is nothing that TorchScript compiles

    def __init__(self, model: nn.Module, index: int, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        # The regions' map last; of a transformer not every block, of which neighbors look alike.
        self.indices = [index] if pooling == "head" else _spread(index)
        self.pooling = pooling

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, 224, 224] -> regions [B, C, 14, 14] and pooled [B, D]."""
        model: Any = self.model
        last, maps = model.forward_intermediates(images, indices=self.indices, norm=True)
        head = model.forward_head(last, pre_logits=True)
        if self.pooling == "stages":
            head = torch.cat([head.float(), *map(mean_and_deviation, maps)], dim=1)
        return _on_grid(maps[-1]), head


def _spread(index: int) -> list[int]:
    """Up to four places from the first map to that of the regions."""
    return sorted({round(index * part / 3) for part in range(4)})


def _on_grid(feature_map: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 14, 14], which lies on the picture as the map did."""
    if feature_map.shape[2:] == (REGION_GRID, REGION_GRID):
        return feature_map
    size = (REGION_GRID, REGION_GRID)
    return functional.interpolate(feature_map, size, mode="bilinear", align_corners=False)


def build(card: BackboneCard) -> nn.Module:
    """The module of a card, its weights still to be loaded. Raises WeightsError without timm."""
    return _build(card.architecture, card.pooling)


def load_timm_model(source: str, pooling: Pooling) -> Network:
    """The model of `timm:NAME` or `timm:NAME@FILE`.

    Raises WeightsError where timm, the model, a map of stride 16 or the weights are missing.
    """
    name, _, file = source.removeprefix("timm:").partition("@")
    options: dict[str, Any] = {"pretrained": True}
    if file:
        options["pretrained_cfg_overlay"] = {"state_dict": dict(read_state_dict(Path(file)))}
    try:
        module = _build(name, pooling, **options)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        what = (
            f"{file}: not a state dict of timm's {name}"
            if file
            else (f"the weights of timm's {name} cannot be downloaded")
        )
        raise WeightsError(f"{what} ({reason}). {WAYS_ON}") from error
    config: dict[str, Any] = module.model.pretrained_cfg  # type: ignore[assignment]
    mean, deviation = config["mean"], config["std"]
    with torch.inference_mode():
        regions, pooled = module(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    card = BackboneCard(
        source=source,
        family=FAMILY,
        architecture=name,
        weights=f"the file {Path(file).name}" if file else f"timm's {config.get('tag') or 'own'}",
        license="license not known" if file else config.get("license") or "license not stated",
        mean=tuple(255 * value for value in mean),
        deviation=tuple(255 * value for value in deviation),
        channels=regions.shape[1],
        pooled_size=pooled.shape[1],
        pooling=pooling,
    )
    return Network(card, module)


def _build(name: str, pooling: Pooling, **options: Any) -> TimmModel:
    timm = import_timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise WeightsError(f"timm has no model {name!r}{hint}")
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        options["img_size"] = IMAGE_SIZE  # position embeddings are brought to it
    model = timm.create_model(name, num_classes=0, **options).eval()
    return TimmModel(model, _index_of_regions(model, name), pooling).eval()


def _index_of_regions(model: Any, name: str) -> int:
    """The last of the maps that has about 14 x 14 places for a picture of 224 x 224."""
    info = model.feature_info
    maps = info if isinstance(info, list) else info.get_dicts()
    found = [number for number, each in enumerate(maps) if each["reduction"] in _STRIDES]
    if not found or not hasattr(model, "forward_intermediates"):
        strides = ", ".join(str(each["reduction"]) for each in maps) or "none"
        raise WeightsError(
            f"timm's {name} gives no map of stride 16 to take regions from (strides: {strides})"
        )
    return found[-1]
