"""The attention study of a model folder, as files and on stdout.

DIR/attention.json    the figures, and the code that made them
DIR/attention.md      the same as a table; DIR/attention.png shows where the model looks
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from completelook.files import write_text
from rich.markup import escape

from completelook_build.attention.sheet import attention_sheet
from completelook_build.attention.study import (
    AttentionFigures,
    AttentionStudy,
    read_anchors,
    study_attention,
)
from completelook_build.console import print_figures
from completelook_build.data import Dataset, read_boxes
from completelook_build.evaluation import CONFIDENCE, RESAMPLES, Estimate
from completelook_build.report import made_by, markdown_table, save_png
from completelook_build.training import load_model, read_held_out

# What decides the figures: the study, and the training of the model that is studied.
STUDY_MODULES = ("completelook_build.attention.study", "completelook_build.training.train")


def study_model(
    folder: Path, dataset: Dataset, out: Path, *, scenes: int, trained_scenes: bool = False
) -> AttentionStudy:
    """Study a model on the test split and write attention.json, attention.md and attention.png.

    Raises DataError or ModelError.
    """
    model = load_model(folder)
    test = read_held_out(model, dataset, ("test",), trained_scenes=trained_scenes)["test"]
    anchors = read_anchors(dataset.pairs)
    boxes = read_boxes(dataset.pairs)
    study = study_attention(model.heads, test, model.config.categories, anchors, boxes)
    sheet = attention_sheet(model.heads, test, model.config.categories, study.views, scenes=scenes)
    figures = {**as_json(study), "made_by": made_by(*STUDY_MODULES)}
    write_text(out / "attention.json", json.dumps(figures, indent=2) + "\n")
    write_text(out / "attention.md", as_markdown(study))
    save_png(sheet, out / "attention.png")
    return study


def as_json(study: AttentionStudy) -> dict[str, object]:
    """The figures as a JSON object; null where a figure is not defined."""
    return {
        "resamples": RESAMPLES,
        "confidence": CONFIDENCE,
        "has_anchors": study.has_anchors,
        "views_whose_anchor_is_cut_away": study.cut_away,
        "views_without_anchor": study.without_anchor,
        "overall": _nullable(asdict(study.overall)),
        "categories": {name: _nullable(asdict(own)) for name, own in study.by_category.items()},
    }


def _nullable(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _nullable(value) for name, value in content.items()}
    return None if isinstance(content, float) and math.isnan(content) else content


def as_markdown(study: AttentionStudy) -> str:
    """A table to paste, a row for each category and one for all, and how to read it."""
    rows = [
        [
            name,
            str(own.views),
            *(each.in_one_line() for each in _columns(own, study).values()),
        ]
        for name, own in [*study.by_category.items(), ("all", study.overall)]
    ]
    headings = ["category", "views", *_columns(study.overall, study)]
    return f"{markdown_table(headings, rows)}\n{method(study)}\n"


def print_study(study: AttentionStudy) -> None:
    """Print the figures on stdout, each interval below its figure."""
    columns = _columns(study.overall, study)
    rows = [
        [
            f"{escape(name)}\n[dim]{own.views} views, {own.scenes} scenes[/]",
            *(each.in_two_lines() for each in _columns(own, study).values()),
        ]
        for name, own in [*study.by_category.items(), ("all", study.overall)]
    ]
    headings = ["category", *(heading.replace(", ", "\n") for heading in columns)]
    print_figures("Attention on test scenes", headings, rows, note=method(study))


def method(study: AttentionStudy) -> str:
    """How to read the figures, in a few sentences."""
    text = (
        "A view is a scene without a pair's product, looked at for the product's category. Entropy "
        "is a share of an even map's: 1 looks everywhere alike. Saliency is the spectral residual "
        f"of the same picture. Intervals: {CONFIDENCE:.0%}, {RESAMPLES} bootstrap resamples of the "
        f"{study.overall.scenes} scenes."
    )
    if not study.has_anchors:
        return f"{text} {_about_boxes(study)}"
    return (
        f"{text} Area: the anchor box's share of the crop. Mass ratio: the mean mass inside the "
        "box over the mean area. Pointing: how often the map's peak is inside, by chance the area. "
        f"Without these: {study.cut_away} views whose anchor is cut away and "
        f"{study.without_anchor} without an anchor."
    )


def _about_boxes(study: AttentionStudy) -> str:
    """What the figures on boxes mean, and whether the attention is on them."""
    if not study.has_boxes:
        return "The data has neither anchors.json beside the pairs nor boxes: that is all of it."
    more_than_area = _answer(study.overall.boxes.attention_ratio, 1.0)
    more_than_saliency = _answer(study.overall.boxes.beyond_saliency, 0.0)
    return (
        "Boxes: those of all products in the scene together, as they lie in the crop; in an outfit "
        "they stand in for the person. Mass ratio: the mean mass inside over the mean area. Is the "
        f"attention on the boxes more than their area asks for? {more_than_area} More than the "
        f"saliency is? {more_than_saliency}"
    )


def _answer(estimate: Estimate, even: float) -> str:
    if estimate.low > even:
        return "Yes."
    return "No, less." if estimate.high < even else "This data does not tell."


def _columns(own: AttentionFigures, study: AttentionStudy) -> Mapping[str, Estimate]:
    """What a row shows, by heading."""
    entropies = {
        "entropy, attention": own.attention.entropy,
        "entropy, saliency": own.saliency.entropy,
    }
    if not study.has_anchors:
        return {**_box_columns(own), **entropies} if study.has_boxes else entropies
    return {
        "area": own.area_share,
        "mass, attention": own.attention.mass,
        "mass ratio, attention": own.attention.mass_ratio,
        "mass ratio, saliency": own.saliency.mass_ratio,
        "pointing, attention": own.attention.pointing,
        "pointing, saliency": own.saliency.pointing,
        **entropies,
    }


def _box_columns(own: AttentionFigures) -> Mapping[str, Estimate]:
    return {
        "boxes, area": own.boxes.area,
        "mass, attention": own.boxes.attention,
        "mass, saliency": own.boxes.saliency,
        "mass ratio, attention": own.boxes.attention_ratio,
        "mass ratio, saliency": own.boxes.saliency_ratio,
    }
