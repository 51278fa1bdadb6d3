"""`completelook-build learn`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import BackboneOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def learn(
    dataset: "Dataset",
    out: Annotated[
        Path, typer.Option("--out", help="The model's folder, with model_repository/, report.html.")
    ],
    backbone: BackboneOption = "efficientnet-lite0",
    folds: Annotated[
        int, typer.Option(min=2, help="Parts of the self-test: each is tested by models of others.")
    ] = 5,
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """From a shop's own photos to a model that Triton serves, and a page on what it is worth."""
    from completelook_build.shop import learn_from_photos
    from completelook_build.training import TrainingConfig

    config = TrainingConfig(epochs=epochs, seed=seed)
    print(learn_from_photos(dataset, out, backbone=backbone, folds=folds, config=config))
