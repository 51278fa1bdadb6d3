"""A frozen network before it is served: its weights, and the card that says what it is."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from completelook.contract import PREPROCESSING
from torch import nn

from completelook_build.backbones.staged import Pooling

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_DEVIATION = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True, kw_only=True)
class BackboneCard:
    """What a backbone is, and all that is needed to build it again around its weights.

    `source` is what `--backbone` was given. Pixels of 0 to 255 are scaled to
    (pixel - mean) / deviation. Regions are `channels` x 14 x 14, the pooled vector `pooled_size`,
    made as `pooling` says.
    """

    source: str
    family: str
    architecture: str
    weights: str  # where they come from
    license: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    channels: int
    pooled_size: int
    pooling: Pooling = "head"

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The card that `asdict` gave, after a way through JSON."""
        scaling = {name: tuple(fields[name]) for name in ("mean", "deviation")}
        return cls(**{**fields, **scaling})

    @property
    def is_random(self) -> bool:
        """Whether the weights were drawn and never trained."""
        return self.source.startswith("random:")

    def as_text(self) -> str:
        """One line for a person."""
        return f"backbone {self.source}: {self.weights} ({self.license})"


@dataclass(frozen=True, eq=False)
class Network:
    """A module of scaled images [B, 3, 224, 224] to regions [B, C, 14, 14] and pooled [B, D]."""

    card: BackboneCard
    module: nn.Module

    def id(self, precision: str) -> int:
        """63 bits over weights, precision, what comes before them and what is taken of them."""
        card = self.card
        scaling = f"mean {card.mean} deviation {card.deviation}"
        taps = f"channels {card.channels} pooled {card.pooled_size} {card.pooling}"
        labels = [card.family, card.architecture, precision, PREPROCESSING, scaling, taps]
        return weights_id(self.module, *labels)


def weights_id(module: nn.Module, *labels: str) -> int:
    """63 bits of a SHA-256 over a module's weights and what else shapes its answers."""
    digest = hashlib.sha256()
    for label in labels:
        digest.update(label.encode() + b"\0")
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(str(value.dtype).encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1
