"""The two models that are measured: one with the paper's ResNet50, one with a light backbone.

The demo's is one of them. The other gets its categories and heads of the same form that nobody
trained: how fast a model is does not depend on what it has learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from completelook_build.backbones import Network, load_network, settle_batch_norms
from completelook_build.export import export_model
from completelook_build.heads import CompatibilityHeads
from completelook_build.training import TrainedModel, load_model

from completelook_load.bench.app_server import Image

# Random weights cost no download. Without settled batch norms they overflow.
_FULL_SOURCE, _FULL_FAMILY = "random:0", "resnet50"
_LIGHT_SOURCE = "efficientnet-lite0"


@dataclass(frozen=True)
class Models:
    """The same heads on both backbones."""

    full: TrainedModel
    light: TrainedModel

    def export(self, folder: Path, precision: str) -> tuple[Path, Path]:
        """Write both models' repositories, and say where they are."""
        repositories = folder / "model_repository", folder / "light_model_repository"
        for model, repository in zip((self.full, self.light), repositories, strict=True):
            export_model(model, repository, precision=precision)
        return repositories


def load_models(demo: Path, images: Sequence[Image]) -> Models:
    """The demo's model, and the other one.

    Raises DataError without a demo, and WeightsError without the package of the light weights.
    """
    given = load_model(demo)
    full = light = given
    if given.network.card.family != _FULL_FAMILY:
        network = load_network(_FULL_SOURCE)
        settle_batch_norms(network, [torch.from_numpy(np.stack(images[:8]))])
        full = _untrained(given, network)
    if given.network.card.source != _LIGHT_SOURCE:
        light = _untrained(given, load_network(_LIGHT_SOURCE))
    return Models(full, light)


def _untrained(given: TrainedModel, network: Network) -> TrainedModel:
    card = network.card
    config = replace(given.config, channels=card.channels, pooled_size=card.pooled_size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        heads = CompatibilityHeads(config).eval()
    return TrainedModel(network, heads, config, {})
