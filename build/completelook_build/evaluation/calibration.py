"""Calibration: from distance to the probability that a product complements a scene.

DIR/calibration.json    the knots of the map, its errors and what it was fitted on
DIR/calibration.png     the map and the reliability diagram
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from completelook.files import replacing_together
from completelook.ranking import Calibration
from sklearn.isotonic import isotonic_regression

from completelook_build.console import say
from completelook_build.data import Dataset
from completelook_build.errors import ModelError
from completelook_build.evaluation.reliability import (
    BINS,
    Outcomes,
    draw_reliability,
    expected_calibration_error,
    reliability,
)
from completelook_build.heads import score_split
from completelook_build.training import load_model, read_held_out

_SPLITS = ("validation", "test")
_FILE = "calibration.json"
_PICTURE = "calibration.png"


@dataclass(frozen=True)
class CalibrationReport:
    """A fitted calibration and how far its probabilities are off, by split."""

    calibration: Calibration
    errors: Mapping[str, float]  # expected calibration error
    pairs: Mapping[str, int]

    def as_text(self) -> str:
        """What a person wants to know, in three lines."""
        knots = self.calibration
        return (
            f"compatibility from {knots.compatibilities[0]:.3f} at distance "
            f"{knots.distances[0]:.3f} to {knots.compatibilities[-1]:.3f} at "
            f"{knots.distances[-1]:.3f}, {len(knots.distances)} knots\n"
            "prior: one true product against one random product of its category\n"
            f"expected calibration error, {BINS} bins: "
            f"{self.errors['test']:.3f} on {self.pairs['test']} unseen test pairs, "
            f"{self.errors['validation']:.3f} on the {self.pairs['validation']} validation pairs "
            "it was fitted on"
        )


def calibrate_model(
    folder: Path, dataset: Dataset, *, trained_scenes: bool = False
) -> CalibrationReport:
    """Fit a model folder's calibration on the validation split and store it there.

    Raises DataError or ModelError.
    """
    model = load_model(folder)
    splits = read_held_out(model, dataset, _SPLITS, trained_scenes=trained_scenes)
    outcomes = {name: Outcomes.of(score_split(model.heads, splits[name])) for name in _SPLITS}
    calibration = fit_calibration(outcomes["validation"])
    bins = {name: reliability(calibration, outcomes[name]) for name in _SPLITS}
    report = CalibrationReport(
        calibration,
        {name: expected_calibration_error(bins[name]) for name in _SPLITS},
        {name: len(splits[name]) for name in _SPLITS},
    )
    draw = partial(draw_reliability, calibration, bins, outcomes["test"].distances)
    content = {
        **asdict(calibration),
        "fitted_on": {"split": "validation", "data_sha256": splits["test"].features.data.sha256},
        "pairs": dict(report.pairs),
        "expected_calibration_error": {"bins": BINS, **report.errors},
    }
    write_calibration(folder, model.heads_id, content, draw)
    return report


def write_calibration(
    folder: Path, heads_id: int, content: Mapping[str, object], draw: Callable[[Path], None]
) -> None:
    """Store a calibration with the model it was fitted for, and its picture: both or none.

    `content` holds the fields of the Calibration, and how it was made. Raises ModelError.
    """
    text = json.dumps({"heads_id": f"{heads_id:016x}", **content}, indent=2) + "\n"
    try:
        with replacing_together() as beside:
            draw(beside(folder / _PICTURE))
            beside(folder / _FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{folder}: the calibration cannot be written ({error})") from error


def read_calibration(folder: Path, heads_id: int) -> Calibration | None:
    """The calibration of a model folder, None where it has none of these heads.

    One that an earlier model left in the folder is announced and not used. Raises ModelError where
    the file cannot be read.
    """
    path = folder / _FILE
    try:
        text = path.read_text(encoding="utf-8")
        fitted_for = json.loads(text)["heads_id"]
        calibration = Calibration.from_json(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: not a calibration ({error}); make it anew with completelook-build calibrate"
        ) from error
    if fitted_for == f"{heads_id:016x}":
        return calibration
    say(
        f"{path} is of another model that was in this folder, so it is not used: "
        "run completelook-build calibrate again"
    )
    return None


def fit_calibration(outcomes: Outcomes) -> Calibration:
    """The falling map that explains the outcomes best, without steps and never quite sure.

    Isotonic regression fits the probability in blocks of distance, each of one value. Its steps
    would tie most products of a category and jump at no real border, so the map runs straight from
    the middle of one block to the next (Oron, Flournoy: Centered Isotonic Regression, 2017). Its
    first and last block would say 1 and 0 where N pairs happen to hold no exception; drawn in to
    (N + 1) / (N + 2) and 1 / (N + 2) they leave room for one (Platt: Probabilistic Outputs for
    Support Vector Machines, 1999).
    """
    # Equal distances must become one point, since no map tells them apart.
    distances, rows = np.unique(outcomes.distances, return_inverse=True)  # [M], [N]
    weights = np.bincount(rows, outcomes.weights)  # [M]
    means = np.bincount(rows, outcomes.weights * outcomes.is_true) / weights  # [M]
    fitted = isotonic_regression(means, sample_weight=weights, increasing=False)  # [M]
    values, blocks = np.unique(fitted, return_inverse=True)  # [K] rising, [M]
    centers = np.bincount(blocks, weights * distances) / np.bincount(blocks, weights)  # [K]
    pairs = outcomes.is_true.sum()
    compatibilities = (pairs * values + 1) / (pairs + 2)  # [K]
    return Calibration(tuple(centers[::-1].tolist()), tuple(compatibilities[::-1].tolist()))
