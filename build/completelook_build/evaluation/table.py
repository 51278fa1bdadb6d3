"""A comparison's table as JSON, as Markdown and on stdout: all from what table.json holds."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from completelook.files import write_text

from completelook_build.console import print_figures
from completelook_build.report import markdown_table

_COLUMNS = {
    "pairwise_accuracy": "accuracy [95% interval]",
    "top_1_accuracy": "top 1",
    "top_5_accuracy": "top 5",
    "mean_reciprocal_rank": "reciprocal rank",
    "fill_in_the_blank": "1 of 4",
}

_MOST_CHOICES = 5  # that are told one by one


def comparison_as_markdown(table: Mapping[str, Any]) -> str:
    """What was measured, the table, and what each row is taken to be."""
    references = _references(table)
    headings = [
        *("", *_COLUMNS.values(), "ROC AUC", "accuracy of each seed"),
        *(f"accuracy beyond {title}" for title in references.values()),
    ]
    rows = [
        [*_cells(row), *(_difference(row, name) for name in references)] for row in table["rows"]
    ]
    notes = [f"- **{row['title']}**: {row['note']}{_chosen(row)}\n" for row in table["rows"]]
    return f"{describe(table)}\n\n{markdown_table(headings, rows)}\n{''.join(notes)}"


def describe(table: Mapping[str, Any]) -> str:
    """The data, backbone and budget behind a table, as one paragraph."""
    data, training, folds = table["data"], table["training"], table.get("folds")
    pairs, scenes = data["pairs"], data["scenes"]
    tested = (
        f"{pairs['test']} of {scenes['test']} tested"
        if folds is None
        else f"on average of {folds} folds by scene; {pairs['test']} of {scenes['test']} tested, "
        "each once, by models that saw none of its fold"
    )
    text = (
        f"Backbone `{table['backbone']}`. {pairs['train']} pairs of "
        f"{scenes['train']} scenes to train on, {pairs['validation']} of "
        f"{scenes['validation']} to choose by, {tested}, in {data['categories']} categories, "
        f"against {data['negatives']:.1f} negatives a pair on average: every other product of the "
        f"category in the {'test split' if folds is None else 'fold'}. {training['epochs']} "
        f"epochs, {training['negatives']} negatives a positive, {table['seeds']} seeds: figures "
        "are means over seeds, intervals resample scenes with all their seeds. "
    )
    if _references(table):
        text += (
            "What a row has beyond another is taken pair by pair; where its interval holds 0 the "
            "data does not tell which of the two is better. "
        )
    return f"{text}Measured on {table['machine']}."


def _references(table: Mapping[str, Any]) -> dict[str, str]:
    """The rows that the others are held against: name and title."""
    held = {name for row in table["rows"] for name in row.get("differences", {})}
    return {row["name"]: row["title"] for row in table["rows"] if row["name"] in held}


def _difference(row: Mapping[str, Any], reference: str) -> str:
    difference = row["differences"].get(reference)
    if difference is None:
        return ""
    value, low, high = (difference[bound] for bound in ("value", "low", "high"))
    return f"{value:+.3f}" if low is None else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def print_comparison(table: Mapping[str, Any]) -> None:
    """Print accuracy, top 5 and what it is beyond the last of the references on stdout."""
    references = dict(list(_references(table).items())[-1:])
    rows = []
    for row in table["rows"]:
        accuracy, top_5 = (
            row["estimates"][name] for name in ("pairwise_accuracy", "top_5_accuracy")
        )
        interval = f"{_figure(accuracy['low'])} to {_figure(accuracy['high'])}"
        cells = [row["title"], _figure(accuracy["value"]), interval, _figure(top_5["value"])]
        rows.append([*cells, *(_difference(row, name) for name in references)])
    headings = (
        "",
        "accuracy",
        "95% interval",
        "top 5",
        *(f"beyond {t}" for t in references.values()),
    )
    print_figures("Pairwise accuracy on test scenes", headings, rows)


def write_comparison(table: Mapping[str, Any], out: Path) -> None:
    """Write a table to DIR/table.json and table.md. Raises OSError."""
    write_text(out / "table.json", json.dumps(table, indent=1) + "\n")
    write_text(out / "table.md", comparison_as_markdown(table))


def _cells(row: Mapping[str, Any]) -> list[str]:
    accuracy, *others = (row["estimates"][name] for name in _COLUMNS)
    return [
        row["title"],
        f"{_figure(accuracy['value'])} [{_figure(accuracy['low'])}, {_figure(accuracy['high'])}]",
        *(_figure(estimate["value"]) for estimate in others),
        _figure(row["roc_auc"]),
        ", ".join(map(_figure, row["seed_accuracies"])),
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _chosen(row: Mapping[str, Any]) -> str:
    """What validation chose for each model, where there was something to choose."""
    chosen = [choice for choice in row["choices"] if choice]
    if not chosen:
        return ""
    if len(chosen) <= _MOST_CHOICES:
        return f" Chosen on validation scenes, seed by seed: {'; '.join(chosen)}."
    choice, times = Counter(chosen).most_common(1)[0]
    return f" Most often chosen on validation scenes: {choice} ({times} of {len(chosen)} models)."
