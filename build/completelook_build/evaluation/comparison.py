"""The table of one data set: every contender, every seed, on the same test pairs.

DIR/scores/NAME-SEED-KEY.npz   distances of one contender, seed and fold, kept once they are there
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from completelook.errors import UsageError
from completelook.files import replacing

from completelook_build.console import say
from completelook_build.data import Dataset
from completelook_build.evaluation.contenders import CONTENDERS, Contender
from completelook_build.evaluation.material import Material, read_materials
from completelook_build.evaluation.metrics import (
    Array,
    Estimate,
    estimate_metrics,
    paired_difference,
)
from completelook_build.features import Split
from completelook_build.heads import PairScore, pair_accuracy, score_pairs
from completelook_build.report import code_digest, made_by
from completelook_build.training import TrainingConfig, versions

# What decides every figure of a table, with all that it imports.
COMPARISON_MODULES = ("completelook_build.evaluation.comparison",)


# The rows that every row is held against: similarity, and the paper's form.
REFERENCES = ("raw", "ctl")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that decides the figures of a table.

    With `folds` every scene is tested once, by models that learned from the other folds; without,
    the data's own split says which scenes are tested. `rows` names the contenders, all if empty.
    """

    dataset: Dataset
    backbone: str = "resnet50"
    seeds: int = 3
    folds: int | None = None
    rows: Sequence[str] = ()
    training: TrainingConfig

    @property
    def contenders(self) -> Sequence[Contender]:
        """The rows asked for, in the table's order. Raises UsageError for one that is unknown."""
        known = {contender.name: contender for contender in CONTENDERS}
        for row in self.rows:
            if row not in known:
                raise UsageError(f"there is no row {row!r}: expected one of {', '.join(known)}")
        return [known[name] for name in known if name in (self.rows or known)]


@dataclass(frozen=True)
class Scored:
    """One contender and seed on the test pairs of one material."""

    scores: Sequence[PairScore]
    choice: str


@dataclass(frozen=True, eq=False)
class ComparedRow:
    """A contender's figures, and those of each seed.

    `estimates` are over every pair once for each seed: means over seeds, in intervals that resample
    scenes with all their pairs and seeds together. They leave out the ROC AUC, which would pool
    distances of different models; it is the mean over models, without an interval.
    """

    contender: Contender
    estimates: Mapping[str, Estimate]
    roc_auc: float
    seed_accuracies: tuple[float, ...]
    pair_accuracies: Array  # the mean over seeds of each test pair, [N]
    choices: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return {
            "name": self.contender.name,
            "title": self.contender.title,
            "note": self.contender.note,
            "estimates": {name: each.as_json() for name, each in self.estimates.items()},
            "roc_auc": self.roc_auc,
            "seed_accuracies": self.seed_accuracies,
            "choices": self.choices,
        }


def make_table(comparison: Comparison, out: Path) -> dict[str, Any]:
    """Make the table of a data set: what table.json holds, its cells kept in a folder.

    What an earlier run finished is used again. Raises UsageError, DataError, WeightsError or
    OSError.
    """
    contenders = comparison.contenders
    materials = read_materials(comparison.dataset, comparison.backbone, comparison.folds)
    return compare(comparison, materials, out, contenders)


def compare(
    comparison: Comparison,
    materials: Sequence[Material],
    out: Path,
    contenders: Sequence[Contender] = CONTENDERS,
) -> dict[str, Any]:
    """See `make_table`; with the data at hand, one material for each fold."""
    rows = [_compared(contender, materials, comparison, out) for contender in contenders]
    scenes = [pair.scene for material in materials for pair in material.test.pairs]  # [N]
    return {
        **_described(comparison, materials),
        "rows": [{**row.as_json(), "differences": _differences(row, rows, scenes)} for row in rows],
    }


def _differences(
    row: ComparedRow, rows: Sequence[ComparedRow], scenes: Sequence[str]
) -> dict[str, Any]:
    """How much more pairwise accuracy a row has than each of the other `REFERENCES`."""
    return {
        other.contender.name: paired_difference(
            row.pair_accuracies, other.pair_accuracies, scenes
        ).as_json()
        for other in rows
        if other.contender.name in REFERENCES and other is not row
    }


def _compared(
    contender: Contender, materials: Sequence[Material], comparison: Comparison, out: Path
) -> ComparedRow:
    trained = [
        [
            _scored(contender, seed, material, comparison, out)
            for material in materials  # the folds of one seed
        ]
        for seed in range(comparison.seeds if contender.is_seeded else 1)
    ]
    scores = [[score for one in folds for score in one.scores] for folds in trained]  # of each seed
    estimates = estimate_metrics([score for own in scores for score in own])
    del estimates["roc_auc"]
    models = [one for folds in trained for one in folds]
    aucs = [estimate_metrics(one.scores, resamples=0)["roc_auc"].value for one in models]
    accuracies = np.array([[pair_accuracy(score) for score in own] for own in scores])  # [seeds, N]
    say(f"{contender.title}: accuracy {accuracies.mean():.3f}")
    return ComparedRow(
        contender,
        estimates,
        float(np.mean(aucs)),
        tuple(accuracies.mean(axis=1).tolist()),
        accuracies.mean(axis=0),
        tuple(one.choice for one in models),
    )


def _scored(
    contender: Contender, seed: int, material: Material, comparison: Comparison, out: Path
) -> Scored:
    """One contender and seed, from the file of an earlier run where there is one."""
    path = out / "scores" / f"{contender.name}-{seed}-{_key(comparison, material)}.npz"
    if not path.exists():
        ranked = contender.learn(material, replace(comparison.training, seed=seed))
        _store(path, Scored(score_pairs(material.test, ranked.distances), ranked.choice))
    return _load(path)


def _key(comparison: Comparison, material: Material) -> str:
    """Changes with the data, the splits, the backbone, the budget or the code."""
    decisive = {
        "material": material.sha256,
        "training": {**asdict(comparison.training), "seed": None},
        "versions": versions(),
        "code": code_digest(*COMPARISON_MODULES),
    }
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:16]


def _store(path: Path, scored: Scored) -> None:
    with replacing(path) as beside, beside.open("wb") as file:
        np.savez(
            file,
            scenes=np.array([score.scene for score in scored.scores]),
            categories=np.array([score.category for score in scored.scores]),
            positives=np.array([score.positive for score in scored.scores]),
            negatives=np.concatenate([score.negatives for score in scored.scores]),
            counts=np.array([len(score.negatives) for score in scored.scores]),
            choice=np.array(scored.choice),
        )


def _load(path: Path) -> Scored:
    with np.load(path) as stored:
        negatives = np.split(stored["negatives"], np.cumsum(stored["counts"])[:-1])
        columns = (stored["scenes"].tolist(), stored["categories"].tolist())
        positives = stored["positives"].tolist()
        rows = zip(*columns, positives, negatives, strict=True)
        return Scored([PairScore(*row) for row in rows], str(stored["choice"]))


def _described(comparison: Comparison, materials: Sequence[Material]) -> dict[str, Any]:
    """What a table was made of, with what budget and software, on what machine.

    Pairs and scenes are those of a fold on average, and of all folds together where they test.
    """
    data = materials[0].data
    splits = {
        "train": [material.train for material in materials],
        "validation": [material.validation for material in materials],
        "test": [material.test for material in materials],
    }
    pairs = {name: sum(map(len, parts)) for name, parts in splits.items()}
    scenes = {name: sum(map(_count_scenes, parts)) for name, parts in splits.items()}
    negatives = [len(each.negatives(i)) for each in splits["test"] for i in range(len(each))]
    for name in ("train", "validation"):
        pairs[name] = round(pairs[name] / len(materials))
        scenes[name] = round(scenes[name] / len(materials))
    return {
        "data": {
            "sha256": data.sha256,
            "pairs": pairs,
            "scenes": scenes,
            "categories": len(data.categories),
            "negatives": float(np.mean(negatives)),
        },
        "backbone": comparison.backbone,
        "seeds": comparison.seeds,
        "folds": comparison.folds,
        "training": {**asdict(comparison.training), "seed": None},
        "versions": versions(),
        "machine": _machine(),
        "made_by": made_by(*COMPARISON_MODULES),
    }


def _count_scenes(split: Split) -> int:
    return len({pair.scene for pair in split.pairs})


def _machine() -> str:
    """The processor's name and how many cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
