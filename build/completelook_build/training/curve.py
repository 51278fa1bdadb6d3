"""The picture of a training run: loss and validation accuracy by epoch."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from completelook_build.training.epochs import Epoch


def draw_curve(history: Sequence[Epoch], path: Path) -> None:
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
