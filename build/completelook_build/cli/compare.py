"""`completelook-build compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import BackboneOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def compare(
    dataset: "Dataset",
    out: Annotated[Path, typer.Option("--out", help="The folder of table.md and table.json.")],
    backbone: BackboneOption = "resnet50",
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row that learns.")] = 3,
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Test every scene once, in so many folds, not one split."),
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(help="Only these rows (raw, ctl, small_data, ...); may be repeated."),
    ] = None,
) -> None:
    """Train and test baselines, the model and its ablations; a second run goes on with the rest."""
    from completelook_build.evaluation import (
        Comparison,
        make_table,
        print_comparison,
        write_comparison,
    )
    from completelook_build.training import TrainingConfig

    comparison = Comparison(
        dataset=dataset,
        backbone=backbone,
        seeds=seeds,
        folds=folds,
        rows=row or (),
        training=TrainingConfig(epochs=epochs),
    )
    table = make_table(comparison, out)
    write_comparison(table, out)
    print_comparison(table)
