"""The self-test: every scene once, by a model that never saw it, and what its distances mean."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from completelook.ranking import Calibration

from completelook_build.console import say
from completelook_build.data import Dataset
from completelook_build.evaluation import (
    BINS,
    Array,
    Bin,
    Estimate,
    Evaluation,
    Outcomes,
    bins_of,
    draw_reliability,
    evaluate_scores,
    expected_calibration_error,
    fit_calibration,
    learn_by_recipe,
    paired_difference,
    raw_distances,
    read_materials,
    write_calibration,
)
from completelook_build.features import Split
from completelook_build.heads import Distances, PairScore, pair_accuracy, score_pairs
from completelook_build.training import Recipe

# What a user might ask of `completelook rank --min-compatibility`.
_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True)
class Fold:
    """The pairs of a fold's scenes, as a model of the other folds ranks their products."""

    split: Split
    distances: Distances
    scores: Sequence[PairScore]


@dataclass(frozen=True)
class SelfTest:
    """The figures over all folds, and what the model has beyond what merely looks alike."""

    folds: tuple[Fold, ...]
    evaluation: Evaluation
    lookalike: float  # pairwise accuracy of what looks most like the scene
    gain: Estimate  # the model's pairwise accuracy beyond that

    def as_json(self) -> dict[str, object]:
        """The figures as a JSON object."""
        return {
            "folds": len(self.folds),
            **self.evaluation.as_json(),
            "lookalike_accuracy": self.lookalike,
            "beyond_lookalike": self.gain.as_json(),
        }


@dataclass(frozen=True)
class Threshold:
    """What a least compatibility keeps of the products that belong, and of the others."""

    compatibility: float
    kept: float  # share of the true products
    let_through: float  # share of random products of the category
    shown_anyway: float  # share of pairs where a product shows even without the true one


@dataclass(frozen=True)
class Trust:
    """The calibration, and what it was worth on scenes that it was not fitted on."""

    calibration: Calibration
    bins: tuple[Bin, ...]
    error: float  # expected calibration error
    thresholds: tuple[Threshold, ...]

    @property
    def best_threshold(self) -> Threshold:
        """The one that tells products that belong from others best."""
        return max(self.thresholds, key=lambda each: each.kept - each.let_through)

    def as_json(self) -> Mapping[str, object]:
        """The figures as a JSON object."""
        return {
            "expected_calibration_error": self.error,
            "bins": [asdict(each) for each in self.bins],
            "thresholds": [asdict(each) for each in self.thresholds],
        }


def run_self_test(dataset: Dataset, backbone: str, folds: int, recipe: Recipe) -> SelfTest:
    """Test every scene once, in so many folds. Raises DataError, WeightsError, TrainingError."""
    materials = read_materials(dataset, backbone, folds)
    tested, lookalikes = [], []
    for number, material in enumerate(materials, start=1):
        say(f"self-test {number} of {folds}")
        tested.append(_fold(material.test, learn_by_recipe(material, recipe).distances))
        lookalikes.append(_fold(material.test, raw_distances(material.test)))
    scores = [score for fold in tested for score in fold.scores]
    lookalike = _accuracies(lookalikes)
    gain = paired_difference(_accuracies(tested), lookalike, [score.scene for score in scores])
    evaluation = evaluate_scores(scores, materials[0].data.categories)
    return SelfTest(tuple(tested), evaluation, float(lookalike.mean()), gain)


def _fold(split: Split, distances: Distances) -> Fold:
    return Fold(split, distances, score_pairs(split, distances))


def _accuracies(folds: Sequence[Fold]) -> Array:
    """The pairwise accuracy of every pair, [N]."""
    return np.array([pair_accuracy(score) for fold in folds for score in fold.scores])


def calibrate_by_folds(folder: Path, heads_id: int, test: SelfTest) -> Trust:
    """Fit what a distance means on every scene's own test, and store it with the model.

    What that is worth is measured fold by fold, under the map that the others give: few photos
    leave a validation split too small to fit and to judge by. It holds as far as models of most
    scenes measure distances as the model of all does. Raises ModelError.
    """
    parts = [Outcomes.of(fold.scores) for fold in test.folds]
    together = Outcomes.together(parts)
    calibration = fit_calibration(together)
    maps = [
        fit_calibration(Outcomes.together(parts[:row] + parts[row + 1 :]))
        for row in range(len(parts))
    ]
    compatibilities, best_others = (
        np.concatenate([own.compatibility(each) for own, each in zip(maps, of_folds, strict=True)])
        for of_folds in ([part.distances for part in parts], map(_nearest_others, test.folds))
    )  # of every product [N], of each pair's nearest that is not known to fit [pairs]
    bins = bins_of(compatibilities, together)
    trust = Trust(
        calibration,
        bins,
        expected_calibration_error(bins),
        tuple(_threshold(each, compatibilities, together, best_others) for each in _THRESHOLDS),
    )
    data = test.folds[0].split.features.data
    content = {
        **asdict(calibration),
        "fitted_on": {"folds": len(parts), "data_sha256": data.sha256},
        "pairs": {"test": int(together.is_true.sum())},
        "expected_calibration_error": {"bins": BINS, "test": trust.error},
    }
    draw = partial(draw_reliability, calibration, {"self-test": bins}, together.distances)
    write_calibration(folder, heads_id, content, draw)
    return trust


def _nearest_others(fold: Fold) -> Array:
    return np.array([score.negatives.min() for score in fold.scores], dtype=np.float64)


def _threshold(
    least: float, compatibilities: Array, outcomes: Outcomes, best_others: Array
) -> Threshold:
    shown = compatibilities >= least  # [N]
    return Threshold(
        least,
        float(np.average(shown[outcomes.is_true], weights=outcomes.weights[outcomes.is_true])),
        float(np.average(shown[~outcomes.is_true], weights=outcomes.weights[~outcomes.is_true])),
        float(np.mean(best_others >= least)),
    )
