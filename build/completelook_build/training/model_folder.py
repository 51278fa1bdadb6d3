"""A trained model on disk: weights, configuration, category table, card, metrics and curve.

DIR/model.json      the heads' configuration with the category table, the backbone's card, and the
                    model's: what made it
DIR/backbone.pt     the backbone's state dict, with the batch norms it was given where it is random
DIR/heads.pt        the heads' state dict
DIR/metrics.csv     loss and validation accuracy of every epoch; curve.png shows them
"""

import csv
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from matplotlib.figure import Figure

from completelook_build.backbones import (
    Backbone,
    BackboneCard,
    Network,
    rebuild_network,
    weights_id,
)
from completelook_build.console import say
from completelook_build.errors import ModelError
from completelook_build.heads import CompatibilityHeads, HeadsConfig
from completelook_build.training.loop import Epoch

# model.json last: a folder that has it is whole.
_FILES = ("backbone.pt", "heads.pt", "metrics.csv", "curve.png", "model.json")


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
    """Write a model folder; an earlier model in it stays whole until the new one is.

    Raises ModelError where the folder cannot be written.
    """
    try:
        with TemporaryDirectory(dir=_made(out), prefix=".partial-") as beside:
            _write_files(Path(beside), model, history)
            for name in _FILES:
                (Path(beside) / name).replace(out / name)
    except OSError as error:
        raise ModelError(f"{out}: the model cannot be written ({error.strerror})") from error


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_files(folder: Path, model: TrainedModel, history: tuple[Epoch, ...]) -> None:
    torch.save(model.network.module.state_dict(), folder / "backbone.pt")
    torch.save(model.heads.state_dict(), folder / "heads.pt")
    _write_metrics(folder / "metrics.csv", history)
    _draw_curve(history, folder / "curve.png")
    content = {
        "heads": asdict(model.config),
        "backbone": asdict(model.network.card),
        "card": dict(model.card),
    }
    text = json.dumps(content, indent=2) + "\n"
    (folder / "model.json").write_text(text, encoding="utf-8")


def load_model(folder: Path) -> TrainedModel:
    """Read a model folder.

    Raises ModelError where it is missing, incomplete or its files do not belong together.
    """
    try:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        raw = content["heads"]
        config = HeadsConfig(**{**raw, "categories": tuple(raw["categories"])})
        heads = CompatibilityHeads(config)
        backbone = BackboneCard.from_json(content["backbone"])
        heads.load_state_dict(torch.load(folder / "heads.pt", weights_only=True))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder}: not a model folder, {Path(error.filename).name} is missing; "
            "completelook-build train --out DIR makes one"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{folder}: the model cannot be read ({error}); train it anew") from error
    network = rebuild_network(backbone, folder / "backbone.pt")
    model = TrainedModel(network, heads.eval(), config, content["card"])
    if model.card["heads_id"] != f"{model.heads_id:016x}":
        raise ModelError(f"{folder}: heads.pt is not the one model.json describes; train it anew")
    if backbone.is_random:
        say(backbone.as_text())
    return model


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
