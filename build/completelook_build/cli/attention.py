"""`completelook-build attention`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import ModelOption, TrainedScenesOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def attention(
    model: ModelOption,
    dataset: "Dataset",
    out: Annotated[Path, typer.Option("--out", help="The folder of attention.json, .md, .png.")],
    trained_scenes: TrainedScenesOption = False,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes on the picture sheet.")] = 6,
) -> None:
    """Where the model looks in the test scenes: against true anchors, and generic saliency."""
    from completelook_build.attention import print_study, study_model

    print_study(study_model(model, dataset, out, trained_scenes=trained_scenes, scenes=scenes))
