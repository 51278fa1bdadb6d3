"""`completelook-build learn`."""

from dataclasses import replace
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
    recipe: Annotated[
        str, typer.Option(help="small-data: for some hundreds of photos. paper: the article's.")
    ] = "small-data",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="25, of the paper's recipe 30, if not given.")
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """From a shop's own photos to a model that Triton serves, and a page on what it is worth."""
    from completelook_build.shop import learn_from_photos
    from completelook_build.training import RECIPES

    if recipe not in RECIPES:
        raise typer.BadParameter(f"{recipe!r}: expected one of {', '.join(RECIPES)}")
    config = RECIPES[recipe](seed=seed)
    if epochs is not None:
        config = replace(config, epochs=epochs)
    print(learn_from_photos(dataset, out, backbone=backbone, folds=folds, recipe=config))
