"""`completelook-build sheet`."""

from pathlib import Path
from typing import Annotated

import typer

from completelook_build.cli.options import (
    CategoriesOption,
    FeaturesOption,
    ImagesOption,
    PairsOption,
)


def sheet(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option("--out", help="The folder of sheet.html and sheet.png.")],
    features: FeaturesOption = None,
    scenes: Annotated[int, typer.Option(min=1, help="Test scenes to show.")] = 10,
) -> None:
    """Show the true product and the five nearest of its category for some test scenes."""
    from completelook_build.evaluation.sheet import make_sheet

    features = features or pairs.with_name("features")
    for path in make_sheet(model, pairs, categories, images, features, out, scenes=scenes):
        print(path)
