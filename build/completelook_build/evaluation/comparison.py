"""The table of one data set: every contender, every seed, on the same test pairs.

DIR/scores/NAME-SEED-KEY.npz   distances of one contender and seed, kept as soon as they are there
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
from completelook.files import replacing

from completelook_build.console import say
from completelook_build.data import SPLITS, Dataset
from completelook_build.evaluation.contenders import CONTENDERS, Contender, Material, read_material
from completelook_build.evaluation.metrics import Estimate, estimate_metrics
from completelook_build.heads import PairScore, pairwise_accuracy, score_pairs
from completelook_build.report import code_digest, made_by
from completelook_build.training import TrainingConfig, versions

# The module that decides every figure of a table, and all that it imports.
MADE_OF = "completelook_build.evaluation.comparison"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that decides the figures of a table."""

    dataset: Dataset
    backbone: str = "imagenet"
    seeds: int = 3
    training: TrainingConfig


@dataclass(frozen=True)
class Scored:
    """One contender and seed on the test pairs."""

    scores: Sequence[PairScore]
    choice: str


@dataclass(frozen=True)
class ComparedRow:
    """A contender's figures, and those of each seed.

    `estimates` are over every pair once for each seed: means over seeds, in intervals that resample
    scenes with all their pairs and seeds together. They leave out the ROC AUC, which would pool
    distances of different models; it is the mean over seeds, without an interval.
    """

    contender: Contender
    estimates: Mapping[str, Estimate]
    roc_auc: float
    seed_accuracies: tuple[float, ...]
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

    What an earlier run finished is used again. Raises DataError, WeightsError or OSError.
    """
    material = read_material(comparison.dataset, comparison.backbone)
    return compare(comparison, material, out)


def compare(
    comparison: Comparison,
    material: Material,
    out: Path,
    contenders: Sequence[Contender] = CONTENDERS,
) -> dict[str, Any]:
    """See `make_table`; with the data at hand."""
    rows = [_compared(contender, material, comparison, out) for contender in contenders]
    return {**_described(comparison, material), "rows": [row.as_json() for row in rows]}


def _compared(
    contender: Contender, material: Material, comparison: Comparison, out: Path
) -> ComparedRow:
    seeds = range(comparison.seeds if contender.is_seeded else 1)
    scored = [_scored(contender, seed, material, comparison, out) for seed in seeds]
    pooled = [score for one in scored for score in one.scores]
    estimates = estimate_metrics(pooled)
    del estimates["roc_auc"]
    aucs = [estimate_metrics(one.scores, resamples=0)["roc_auc"].value for one in scored]
    return ComparedRow(
        contender,
        estimates,
        float(np.mean(aucs)),
        tuple(pairwise_accuracy(one.scores) for one in scored),
        tuple(one.choice for one in scored),
    )


def _scored(
    contender: Contender, seed: int, material: Material, comparison: Comparison, out: Path
) -> Scored:
    """One contender and seed, from the file of an earlier run where there is one."""
    path = out / "scores" / f"{contender.name}-{seed}-{_key(comparison, material)}.npz"
    if not path.exists():
        ranked = contender.learn(material, replace(comparison.training, seed=seed))
        _store(path, Scored(score_pairs(material.test, ranked.distances), ranked.choice))
    scored = _load(path)
    say(f"{contender.title}, seed {seed}: accuracy {pairwise_accuracy(scored.scores):.3f}")
    return scored


def _key(comparison: Comparison, material: Material) -> str:
    """Changes with the data, the splits, the backbone, the budget or the code."""
    scenes = {name: sorted(material.data.splits[name]) for name in SPLITS}
    decisive = {
        "data": material.data.sha256,
        "splits": scenes,
        "backbone": material.backbone_id,
        "training": {**asdict(comparison.training), "seed": None},
        "versions": versions(),
        "code": code_digest(MADE_OF),
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


def _described(comparison: Comparison, material: Material) -> dict[str, Any]:
    """What a table was made of, with what budget and software, on what machine."""
    splits = {
        "train": material.train,
        "validation": material.validation,
        "test": material.test,
    }
    return {
        "data": {
            "sha256": material.data.sha256,
            "pairs": {name: len(split) for name, split in splits.items()},
            "scenes": {
                name: len({pair.scene for pair in split.pairs}) for name, split in splits.items()
            },
            "categories": len(material.data.categories),
            "negatives": float(
                np.mean([len(material.test.negatives(i)) for i in range(len(material.test))])
            ),
        },
        "backbone": comparison.backbone,
        "seeds": comparison.seeds,
        "training": {**asdict(comparison.training), "seed": None},
        "versions": versions(),
        "machine": _machine(),
        "made_by": made_by(MADE_OF),
    }


def _machine() -> str:
    """The processor's name and how many cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
