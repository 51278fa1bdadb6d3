"""`completelook-build train`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from completelook_build.cli.options import BackboneOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def train(
    dataset: "Dataset",
    out: Annotated[Path, typer.Option("--out", help="The model folder to make.")],
    backbone: BackboneOption = "resnet50",
    recipe: Annotated[
        str,
        typer.Option(
            help="paper: the article's. small-data: for some hundreds of photos (docs/training.md)."
        ),
    ] = "paper",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="30, of small-data 25, if not given.")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(min=1, help="Negatives for each pair, 8 if not given; paper only.")
    ] = None,
    attention_scale: Annotated[
        float | None,
        typer.Option(
            help="Learn a scale on the attention's logits, from here (5 is a good start)."
        ),
    ] = None,
    mining: Annotated[
        str | None,
        typer.Option(
            help="Negatives that count: random (all), as if not given, or semi-hard; paper only."
        ),
    ] = None,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished training in --out.")
    ] = False,
) -> None:
    """Train the heads on the frozen backbone's features; torchrun starts several processes."""
    from completelook_build.distributed import process_group
    from completelook_build.heads import HeadsConfig
    from completelook_build.training import MININGS, RECIPES, train_model

    if recipe not in RECIPES:
        raise typer.BadParameter(f"{recipe!r}: expected one of {', '.join(RECIPES)}")
    if mining is not None and mining not in MININGS:
        raise typer.BadParameter(f"{mining!r}: expected one of {', '.join(MININGS)}")
    if recipe != "paper" and (negatives is not None or mining is not None):
        raise typer.BadParameter(
            f"--negatives and --mining are the paper's; {recipe} takes every product of a category"
        )
    given: dict[str, Any] = {"epochs": epochs, "negatives": negatives, "mining": mining}
    config = replace(
        RECIPES[recipe](seed=seed),
        **{name: value for name, value in given.items() if value is not None},
    )
    try:
        HeadsConfig(categories=(), attention_scale=attention_scale)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with process_group():
        train_model(
            dataset,
            out,
            backbone=backbone,
            attention_scale=attention_scale,
            config=config,
            resume=resume,
        )
