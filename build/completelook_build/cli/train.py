"""`completelook-build train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import BackboneOption, dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def train(
    dataset: "Dataset",
    out: Annotated[Path, typer.Option("--out", help="The model folder to make.")],
    backbone: BackboneOption = "resnet50",
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    negatives: Annotated[int, typer.Option(min=1, help="Negatives for each pair.")] = 8,
    attention_scale: Annotated[
        float | None,
        typer.Option(
            help="Learn a scale on the attention's logits, from here (5 is a good start)."
        ),
    ] = None,
    mining: Annotated[
        str, typer.Option(help="Negatives that count: random (all, the paper's) or semi-hard.")
    ] = "random",
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished training in --out.")
    ] = False,
) -> None:
    """Train the heads on the frozen backbone's features; torchrun starts several processes."""
    from completelook_build.distributed import process_group
    from completelook_build.heads import HeadsConfig
    from completelook_build.training import MININGS, TrainingConfig, train_model

    if mining not in MININGS:
        raise typer.BadParameter(f"{mining!r}: expected one of {', '.join(MININGS)}")
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
            config=TrainingConfig(epochs=epochs, negatives=negatives, mining=mining, seed=seed),
            resume=resume,
        )
