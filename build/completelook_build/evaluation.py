"""Evaluation on the test scenes: how often the true product lies closer than a negative."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from completelook_build.model_folder import load_model
from completelook_build.pairs import read_pairs
from completelook_build.scoring import PairScore, pairwise_accuracy, score_split
from completelook_build.split import read_features


@dataclass(frozen=True)
class Evaluation:
    """Pairwise accuracy over all test pairs and by category, with the pairs behind each."""

    accuracy: float
    pairs: int
    scenes: int
    by_category: Mapping[str, tuple[float, int]]

    def as_json(self) -> dict[str, object]:
        """The figures as a JSON object."""
        return {
            "pairwise_accuracy": self.accuracy,
            "pairs": self.pairs,
            "scenes": self.scenes,
            "categories": {
                name: {"pairwise_accuracy": accuracy, "pairs": pairs}
                for name, (accuracy, pairs) in self.by_category.items()
            },
        }


def evaluate_model(
    folder: Path, pairs: Path, categories: Path, images: Path, features: Path
) -> Evaluation:
    """Evaluate a model folder on the test split. Raises DataError or ModelError."""
    model = load_model(folder)
    data = read_pairs(pairs, categories, images)
    cached = read_features(data, model.backbone(), features, ("test",))
    scores = score_split(model.heads, cached.split("test", model.config.categories))
    by_category = {}
    for row, name in enumerate(model.config.categories):
        own: list[PairScore] = [score for score in scores if score.category == row]
        if own:
            by_category[name] = (pairwise_accuracy(own), len(own))
    return Evaluation(
        pairwise_accuracy(scores), len(scores), len({s.scene for s in scores}), by_category
    )


def print_table(evaluation: Evaluation) -> None:
    """Print the figures as a table on stdout."""
    table = Table("category", title="Pairwise accuracy on test scenes", title_justify="left")
    table.add_column("accuracy", justify="right")
    table.add_column("pairs", justify="right")
    for name, (accuracy, pairs) in evaluation.by_category.items():
        table.add_row(name, f"{accuracy:.3f}", str(pairs))
    table.add_section()
    table.add_row("all", f"{evaluation.accuracy:.3f}", str(evaluation.pairs))
    Console().print(table)
