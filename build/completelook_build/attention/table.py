"""The attention study as JSON, as Markdown and as a table on stdout."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from completelook_build.attention.study import AttentionFigures, AttentionStudy
from completelook_build.console import results_console
from completelook_build.evaluation.evaluate import in_one_line, in_two_lines
from completelook_build.evaluation.metrics import CONFIDENCE, RESAMPLES, Estimate
from completelook_build.report import markdown_table


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
        [name, str(own.views), *map(in_one_line, _columns(own, study.has_anchors).values())]
        for name, own in [*study.by_category.items(), ("all", study.overall)]
    ]
    headings = ["category", "views", *_columns(study.overall, study.has_anchors)]
    return f"{markdown_table(headings, rows)}\n{method(study)}\n"


def print_table(study: AttentionStudy) -> None:
    """Print the figures on stdout, each interval below its figure."""
    table = Table(title="Attention on test scenes", title_justify="left", box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 0), False
    table.add_column("category", overflow="fold")
    for heading in _columns(study.overall, study.has_anchors):
        table.add_column(heading.replace(", ", "\n"), justify="right", no_wrap=True)
    for name, own in study.by_category.items():
        table.add_row(*_cells(name, own, study.has_anchors))
    table.add_section()
    table.add_row(*_cells("all", study.overall, study.has_anchors))
    console = results_console()
    console.print(table)
    console.print(method(study), highlight=False)


def method(study: AttentionStudy) -> str:
    """How to read the figures, in a few sentences."""
    text = (
        "A view is a scene without a pair's product, looked at for the product's category. Entropy "
        "is a share of an even map's: 1 looks everywhere alike. Saliency is the spectral residual "
        f"of the same picture. Intervals: {CONFIDENCE:.0%}, {RESAMPLES} bootstrap resamples of the "
        f"{study.overall.scenes} scenes."
    )
    if not study.has_anchors:
        return f"{text} The data has no anchors.json beside the pairs, so nothing else is measured."
    return (
        f"{text} Area: the anchor box's share of the crop. Mass ratio: the mean mass inside the "
        "box over the mean area. Pointing: how often the map's peak is inside, by chance the area. "
        f"Without these: {study.cut_away} views whose anchor is cut away and "
        f"{study.without_anchor} without an anchor."
    )


def _columns(own: AttentionFigures, has_anchors: bool) -> Mapping[str, Estimate]:
    """What a row shows, by heading."""
    entropies = {
        "entropy, attention": own.attention.entropy,
        "entropy, saliency": own.saliency.entropy,
    }
    if not has_anchors:
        return entropies
    return {
        "area": own.area_share,
        "mass, attention": own.attention.mass,
        "mass ratio, attention": own.attention.mass_ratio,
        "mass ratio, saliency": own.saliency.mass_ratio,
        "pointing, attention": own.attention.pointing,
        "pointing, saliency": own.saliency.pointing,
        **entropies,
    }


def _cells(name: str, own: AttentionFigures, has_anchors: bool) -> list[str]:
    """A row of the table on stdout, each cell of two lines."""
    return [
        f"{escape(name)}\n[dim]{own.views} views, {own.scenes} scenes[/]",
        *(in_two_lines(each) for each in _columns(own, has_anchors).values()),
    ]
