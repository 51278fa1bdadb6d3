"""`completelook-build evaluate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import ModelOption, TrainedScenesOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def evaluate(
    model: ModelOption,
    dataset: "Dataset",
    trained_scenes: TrainedScenesOption = False,
    negatives: Annotated[
        int | None,
        typer.Option(min=1, help="Draw this many negatives for each pair, instead of taking all."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw, and of the intervals.")] = 0,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
    markdown_path: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Accuracy, AUC and rank figures on the test scenes, overall and by category."""
    from completelook.files import write_text

    from completelook_build.evaluation import evaluate_model, print_evaluation

    evaluation = evaluate_model(
        model, dataset, trained_scenes=trained_scenes, sample=negatives, seed=seed
    )
    print_evaluation(evaluation)
    if json_path is not None:
        write_text(json_path, json.dumps(evaluation.as_json(), indent=2) + "\n")
    if markdown_path is not None:
        write_text(markdown_path, evaluation.as_markdown())
