"""Reliability: whether of the products with a compatibility of 0.7, seven in ten belong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from completelook.ranking import Calibration
from matplotlib.figure import Figure
from numpy.typing import NDArray

from completelook_build.heads import PairScore

BINS = 10


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Every product a split's pairs were scored with, and whether it is the pair's true one.

    A pair weighs 1 for its true product and 1 for all its negatives together: the prior is one true
    product against one random product of its category, however many products the category has.
    """

    distances: NDArray[np.float64]  # [N]
    is_true: NDArray[np.bool_]  # [N]
    weights: NDArray[np.float64]  # [N]

    @classmethod
    def of(cls, scores: Sequence[PairScore]) -> "Outcomes":
        """The outcomes of scored pairs."""
        counts = [len(score.negatives) for score in scores]
        return cls(
            np.concatenate([[score.positive, *score.negatives] for score in scores]),
            np.concatenate([[True] + [False] * count for count in counts]),
            np.concatenate([[1.0] + [1 / count] * count for count in counts]),
        )

    @classmethod
    def together(cls, parts: Sequence["Outcomes"]) -> "Outcomes":
        """The outcomes of several splits, one after the other."""
        return cls(
            np.concatenate([part.distances for part in parts]),
            np.concatenate([part.is_true for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )


@dataclass(frozen=True)
class Bin:
    """The outcomes whose compatibility falls into one of `BINS` equal parts of 0..1."""

    compatibility: float  # their weighted mean
    share_true: float
    weight: float  # of all outcomes, in 0..1


def reliability(calibration: Calibration, outcomes: Outcomes) -> tuple[Bin, ...]:
    """The bins that hold an outcome, in rising order."""
    return bins_of(calibration.compatibility(outcomes.distances), outcomes)


def bins_of(compatibilities: NDArray[np.float64], outcomes: Outcomes) -> tuple[Bin, ...]:
    """The bins of outcomes whose compatibilities [N] are known, in rising order."""
    rows = np.minimum((compatibilities * BINS).astype(np.int64), BINS - 1)  # [N], 1.0 in the last
    total = outcomes.weights.sum()
    bins = []
    for row in np.unique(rows):
        weights = outcomes.weights * (rows == row)  # [N]
        bins.append(
            Bin(
                float(np.average(compatibilities, weights=weights)),
                float(np.average(outcomes.is_true, weights=weights)),
                float(weights.sum() / total),
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """How far a bin's share of true products is from its compatibility, averaged by weight.

    Naeini, Cooper, Hauskrecht: Obtaining Well Calibrated Probabilities Using Bayesian Binning,
    AAAI 2015, with bins of equal width.
    """
    return sum(each.weight * abs(each.share_true - each.compatibility) for each in bins)


def draw_reliability(
    calibration: Calibration,
    bins: Mapping[str, Sequence[Bin]],
    distances: NDArray[np.float64],
    path: Path,
) -> None:
    """Draw the map over the span of some distances, and the bins of one or two splits."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    curve, diagram = figure.subplots(1, 2)
    span = np.linspace(distances.min(), distances.max(), 400)
    curve.plot(span, calibration.compatibility(span), color="#2f6f73")
    curve.set(title="The map", xlabel="distance", ylabel="compatibility", ylim=(-0.02, 1.02))
    diagram.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--")
    for (name, row), color in zip(bins.items(), ("#b5523b", "#2f6f73"), strict=False):
        diagram.plot(
            [each.compatibility for each in row],
            [each.share_true for each in row],
            marker="o",
            color=color,
            label=f"{name}, error {expected_calibration_error(row):.3f}",
        )
    diagram.set(
        title=f"Reliability, {BINS} bins", xlabel="compatibility", ylabel="share of true products"
    )
    diagram.legend(frameon=False, fontsize="small")
    for axes in (curve, diagram):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=150, format="png")
