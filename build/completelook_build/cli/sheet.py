"""`completelook-build sheet`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import ModelOption, TrainedScenesOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def sheet(
    model: ModelOption,
    dataset: "Dataset",
    out: Annotated[Path, typer.Option("--out", help="The folder of sheet.html and sheet.png.")],
    trained_scenes: TrainedScenesOption = False,
    scenes: Annotated[int, typer.Option(min=1, help="Test scenes to show.")] = 10,
) -> None:
    """Show the true product and the five nearest of its category for some test scenes."""
    from completelook_build.evaluation import make_sheet

    for path in make_sheet(model, dataset, out, trained_scenes=trained_scenes, scenes=scenes):
        print(path)
