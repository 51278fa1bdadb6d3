"""Evaluation on the test scenes: the figures of a ranker as a table, JSON and Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from completelook_build.console import print_figures
from completelook_build.data import Dataset
from completelook_build.evaluation.metrics import (
    CONFIDENCE,
    DISTRACTORS,
    RESAMPLES,
    Estimate,
    estimate_metrics,
)
from completelook_build.heads import PairScore, heads_distances, score_pairs
from completelook_build.report import markdown_table
from completelook_build.training import load_model, read_held_out

# What a reader sees of each metric, in the order of the columns.
HEADINGS: Mapping[str, str] = {
    "pairwise_accuracy": "pairwise",
    "roc_auc": "ROC AUC",
    "top_1_accuracy": "top 1",
    "top_5_accuracy": "top 5",
    "top_10_accuracy": "top 10",
    "top_20_accuracy": "top 20",
    "mean_reciprocal_rank": "MRR",
    "fill_in_the_blank": "4-way",
}


@dataclass(frozen=True)
class Figures:
    """The metrics of some pairs, by the names in `HEADINGS`, and what they were measured on."""

    pairs: int
    scenes: int
    candidates: float  # the products ranked for a pair, its own included: the mean
    without_blank: int  # pairs with too few negatives to fill in a blank
    metrics: Mapping[str, Estimate]

    def as_json(self) -> dict[str, object]:
        """The figures as a JSON object; null where a figure is not defined."""
        return {
            "pairs": self.pairs,
            "scenes": self.scenes,
            "candidates": self.candidates,
            "pairs_without_blank": self.without_blank,
            **{name: estimate.as_json() for name, estimate in self.metrics.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """The figures over all pairs and by category, and how they were made."""

    overall: Figures
    by_category: Mapping[str, Figures]
    sample: int | None  # negatives drawn for a pair; None for all of its category
    seed: int  # of that draw and of the resamples
    resamples: int

    def as_json(self) -> dict[str, object]:
        """Everything as one JSON object."""
        return {
            "negatives": "all" if self.sample is None else self.sample,
            "seed": self.seed,
            "resamples": self.resamples,
            "confidence": CONFIDENCE,
            "overall": self.overall.as_json(),
            "categories": {name: own.as_json() for name, own in self.by_category.items()},
        }

    def as_markdown(self) -> str:
        """A table to paste, a row for each category and one for all, and a line on the method."""
        rows = [
            [
                name,
                str(own.pairs),
                f"{own.candidates:.1f}",
                *(own.metrics[metric].in_one_line() for metric in HEADINGS),
            ]
            for name, own in [*self.by_category.items(), ("all", self.overall)]
        ]
        table = markdown_table(["category", "pairs", "products", *HEADINGS.values()], rows)
        return f"{table}\n{self.method()}\n"

    def method(self) -> str:
        """How to read the table, in a few sentences."""
        against = (
            "all negatives of the category"
            if self.sample is None
            else f"at most {self.sample} negatives of the category, drawn with seed {self.seed}"
        )
        text = (
            f"Each pair against {against}; products: how many are ranked for a pair, on average. "
            f"Intervals: {CONFIDENCE:.0%}, {self.resamples} bootstrap resamples of the "
            f"{self.overall.scenes} scenes."
        )
        if self.overall.without_blank:
            text += (
                f" 4-way leaves out {self.overall.without_blank} pairs with fewer than "
                f"{DISTRACTORS} negatives."
            )
        return text


def evaluate_model(
    folder: Path,
    dataset: Dataset,
    *,
    trained_scenes: bool = False,
    sample: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate a model folder on the test split. Raises DataError or ModelError."""
    model = load_model(folder)
    test = read_held_out(model, dataset, ("test",), trained_scenes=trained_scenes)["test"]
    scores = score_pairs(test, heads_distances(model.heads, test), sample=sample, seed=seed)
    return evaluate_scores(scores, model.config.categories, sample=sample, seed=seed)


def evaluate_scores(
    scores: Sequence[PairScore],
    categories: Sequence[str],
    *,
    sample: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """The figures of any ranker's scores; `sample` is what `score_pairs` was told.

    A category without a pair has no row.
    """
    by_category = {}
    for row, name in enumerate(categories):
        own = [score for score in scores if score.category == row]
        if own:
            by_category[name] = _figures(own, resamples, seed)
    return Evaluation(_figures(scores, resamples, seed), by_category, sample, seed, resamples)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the figures as a table on stdout, each interval below its figure."""
    rows = [
        [
            f"{escape(name)}\n[dim]{own.pairs} pairs, {own.candidates:.1f} products[/]",
            *(own.metrics[metric].in_two_lines() for metric in HEADINGS),
        ]
        for name, own in [*evaluation.by_category.items(), ("all", evaluation.overall)]
    ]
    headings = ("category", *HEADINGS.values())
    print_figures("Test scenes", headings, rows, note=evaluation.method())


def _figures(scores: Sequence[PairScore], resamples: int, seed: int) -> Figures:
    counts = [len(score.negatives) for score in scores]
    return Figures(
        pairs=len(scores),
        scenes=len({score.scene for score in scores}),
        candidates=1 + sum(counts) / len(counts),
        without_blank=sum(count < DISTRACTORS for count in counts),
        metrics=estimate_metrics(scores, resamples=resamples, seed=seed),
    )
