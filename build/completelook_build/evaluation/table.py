"""A comparison's table as JSON, as Markdown and on stdout: all from what table.json holds."""

import json
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


def as_markdown(table: Mapping[str, Any]) -> str:
    """What was measured, the table, and what each row is taken to be."""
    header = ["", *_COLUMNS.values(), "ROC AUC", "accuracy of each seed"]
    rows = markdown_table(header, map(_cells, table["rows"]))
    notes = [f"- **{row['title']}**: {row['note']}{_chosen(row)}\n" for row in table["rows"]]
    return f"{describe(table)}\n\n{rows}\n{''.join(notes)}"


def describe(table: Mapping[str, Any]) -> str:
    """The data, backbone and budget behind a table, as one paragraph."""
    data, training = table["data"], table["training"]
    return (
        f"Backbone `{table['backbone']}`. {data['pairs']['train']} pairs of "
        f"{data['scenes']['train']} scenes to train on, {data['pairs']['validation']} of "
        f"{data['scenes']['validation']} to choose by, {data['pairs']['test']} of "
        f"{data['scenes']['test']} tested, in {data['categories']} categories, against "
        f"{data['negatives']:.1f} negatives a pair on average: every other product of the category "
        f"in the test split. {training['epochs']} epochs, {training['negatives']} negatives a "
        f"positive, {table['seeds']} seeds: figures are means over seeds, intervals resample "
        f"scenes with all their seeds. Measured on {table['machine']}."
    )


def print_comparison(table: Mapping[str, Any]) -> None:
    """Print accuracy, top 5 and the seeds of every row on stdout."""
    rows = []
    for row in table["rows"]:
        accuracy = row["estimates"]["pairwise_accuracy"]
        cells = [
            row["title"],
            _figure(accuracy["value"]),
            f"{_figure(accuracy['low'])} to {_figure(accuracy['high'])}",
            _figure(row["estimates"]["top_5_accuracy"]["value"]),
            ", ".join(map(_figure, row["seed_accuracies"])),
        ]
        rows.append(cells)
    headings = ("", "accuracy", "95% interval", "top 5", "each seed")
    print_figures("Pairwise accuracy on test scenes", headings, rows)


def write_comparison(table: Mapping[str, Any], out: Path) -> None:
    """Write a table to DIR/table.json and table.md. Raises OSError."""
    write_text(out / "table.json", json.dumps(table, indent=1) + "\n")
    write_text(out / "table.md", as_markdown(table))


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
    """What validation chose for each seed, where there was something to choose."""
    chosen = "; ".join(choice for choice in row["choices"] if choice)
    return f" Chosen on validation scenes, seed by seed: {chosen}." if chosen else ""
