"""`completelook-build export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import ModelOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def export(
    model: ModelOption,
    model_repository: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Triton's model repository; MODEL/model_repository if not given."
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or fp16 inside backbone and scene head.")
    ] = "fp32",
    form: Annotated[
        str,
        typer.Option("--format", help="torchscript, onnx or aoti: what the models are written as."),
    ] = "torchscript",
    dataset: "Dataset | None" = None,
    response_cache: Annotated[
        bool,
        typer.Option("--response-cache", help="Have Triton remember the answers of embed_scene."),
    ] = False,
) -> None:
    """Write the model into a repository for Triton, checked against the model as it was trained.

    With a data set it says what a reduced precision costs on the test scenes.
    """
    from completelook_build.backbones import PRECISIONS
    from completelook_build.evaluation import read_calibration
    from completelook_build.export import (
        FORMATS,
        NOT_MEASURED,
        REFERENCE,
        export_model,
        measure_cost,
    )
    from completelook_build.training import load_model

    if precision not in PRECISIONS:
        raise typer.BadParameter(f"{precision!r}: expected one of {', '.join(PRECISIONS)}")
    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r}: expected one of {', '.join(FORMATS)}")
    repository = model_repository or model / "model_repository"
    trained = load_model(model)
    cost = NOT_MEASURED
    if precision != REFERENCE and dataset is not None:
        # Before the export: data that cannot be read leaves the repository as it was.
        cost = measure_cost(trained, precision, dataset).as_text()
    report = export_model(
        trained,
        repository,
        precision=precision,
        form=form,
        calibration=read_calibration(model, trained.heads_id),
        response_cache=response_cache,
    )
    print(f"exported model {report.model_id:016x} ({report.precision}) to {repository}")
    print(report.parity.as_text())
    if precision != REFERENCE:
        print(cost)
