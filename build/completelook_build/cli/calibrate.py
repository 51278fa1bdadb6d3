"""`completelook-build calibrate`."""

from typing import TYPE_CHECKING

from completelook_build.cli.options import ModelOption, TrainedScenesOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def calibrate(
    model: ModelOption, dataset: "Dataset", trained_scenes: TrainedScenesOption = False
) -> None:
    """Fit what a distance means, as a probability, and store it with the model for `export`."""
    from completelook_build.evaluation import calibrate_model

    print(calibrate_model(model, dataset, trained_scenes=trained_scenes).as_text())
