"""The model report: a page on what a model is worth, for who sells the products."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from completelook.explain import EmbeddedPicture, embedded_picture, overlay, shrunk
from completelook.files import write_text

from completelook_build.attention import (
    attention_maps,
    find_views,
    frequent_categories,
    one_of_each_scene,
)
from completelook_build.data import Counts, DataDescription, Dataset
from completelook_build.evaluation import (
    TEMPLATES,
    Estimate,
    Evaluation,
    Example,
    Figures,
    make_example,
)
from completelook_build.heads import pair_accuracy
from completelook_build.report import render_page
from completelook_build.shop.self_test import Fold, SelfTest, Trust
from completelook_build.training import TrainedModel, read_held_out

# Fewer scenes give an interval that is itself a guess.
_FEWEST_SCENES = 10
# An interval around an even chance that is no wider says that the model has learned nothing.
_TELLING_WIDTH = 0.2
# Keeping that much more of what belongs than of the rest is worth a threshold.
_USEFUL_THRESHOLD = 0.1
_EXAMPLES = 3  # of the best and of the worst
_LOOKED_AT, _LOOKED_FOR = 4, 3  # scenes and categories
_OVERLAY_SIDE = 400


@dataclass(frozen=True)
class CategoryRow:
    """What a category taught, how it was tested, and what to make of it."""

    name: str
    counts: Counts
    accuracy: Estimate | None  # None where no pair could be tested
    verdict: str  # of `verdict_on`

    @property
    def short_name(self) -> str:
        """The last part of the category's path."""
        return self.name.rpartition("|")[2]


@dataclass(frozen=True)
class Look:
    """A scene, and where the model looked in it for some categories."""

    scene: str
    photo: EmbeddedPicture
    overlays: Sequence[tuple[str, EmbeddedPicture]]  # by category


def write_page(
    path: Path,
    dataset: Dataset,
    model: TrainedModel,
    description: DataDescription,
    test: SelfTest,
    trust: Trust,
) -> None:
    """Write the report of a model that was trained, tested and calibrated.

    Raises DataError, ImageError for a scene that cannot be opened, or OSError.
    """
    page = render_page(
        "page.html.jinja",
        "completelook_build.shop",
        TEMPLATES,
        name=dataset.pairs.resolve().parent.name,
        folder=path.parent,
        model=model,
        description=description,
        test=test,
        overall=test.evaluation.overall,
        categories=category_rows(description, test.evaluation),
        trust=trust,
        threshold_is_useful=_is_useful(trust),
        best=pick_examples(test.folds, model.config.categories, best=True),
        worst=pick_examples(test.folds, model.config.categories, best=False),
        looks=look_at_scenes(model, dataset),
    )
    write_text(path, page)


def category_rows(description: DataDescription, evaluation: Evaluation) -> list[CategoryRow]:
    """A row for each category, those of most pairs first."""
    rows = []
    for name, counts in description.categories.items():
        figures = evaluation.by_category.get(name)
        accuracy = None if figures is None else figures.metrics["pairwise_accuracy"]
        if accuracy is not None and figures is not None and figures.scenes < _FEWEST_SCENES:
            accuracy = Estimate(accuracy.value, np.nan, np.nan)
        rows.append(CategoryRow(name, counts, accuracy, verdict_on(figures)))
    return sorted(rows, key=lambda row: -row.counts.pairs)


def verdict_on(figures: Figures | None) -> str:
    """What to make of a category: "knows", "guesses", "too few" to tell, or "untested"."""
    if figures is None:
        return "untested"
    accuracy = figures.metrics["pairwise_accuracy"]
    if figures.scenes < _FEWEST_SCENES:
        return "too few"
    if accuracy.low > 0.5:
        return "knows"
    return "guesses" if accuracy.high - accuracy.low <= _TELLING_WIDTH else "too few"


def _is_useful(trust: Trust) -> bool:
    best = trust.best_threshold
    return best.kept - best.let_through >= _USEFUL_THRESHOLD


def pick_examples(folds: Sequence[Fold], categories: Sequence[str], *, best: bool) -> list[Example]:
    """The pairs that the self-test got most right or most wrong, no scene or category twice.

    Of pairs that it got equally right those with most products to choose from. Raises ImageError.
    """
    pairs = [
        ((-1 if best else 1) * pair_accuracy(score), -len(score.negatives), number, index)
        for number, fold in enumerate(folds)
        for index, score in enumerate(fold.scores)
    ]
    picked: list[Example] = []
    seen: set[str | int] = set()
    for _, _, number, index in sorted(pairs):
        fold = folds[number]
        scene, category = fold.split.pairs[index].scene, int(fold.split.categories[index])
        if len(picked) == _EXAMPLES or {scene, category} & seen:
            continue
        seen |= {scene, category}
        picked.append(make_example(fold.split, index, fold.distances, categories))
    return picked


def look_at_scenes(model: TrainedModel, dataset: Dataset) -> list[Look]:
    """Where the model looks in some scenes that taught it nothing. Raises DataError, ImageError."""
    split = read_held_out(model, dataset, ("validation",))["validation"]
    names = model.config.categories
    views, _ = find_views(split, names, {}, {})
    chosen = one_of_each_scene(views, _LOOKED_AT)
    maps = attention_maps(model.heads, split, np.array([view.row for view in chosen]))
    rows = frequent_categories(views, _LOOKED_FOR)  # of maps [N, C, 14, 14]
    looks = []
    for view, own in zip(chosen, maps, strict=True):
        photo = shrunk(view.picture.open(), _OVERLAY_SIDE)
        overlays = [
            (names[row].rpartition("|")[2], embedded_picture(overlay(photo, own[row])))
            for row in rows
        ]
        looks.append(Look(view.scene, embedded_picture(photo), overlays))
    return looks
