"""`completelook-build attention`."""

from pathlib import Path
from typing import Annotated

import typer

from completelook_build.cli.options import (
    CategoriesOption,
    FeaturesOption,
    ImagesOption,
    PairsOption,
)


def attention(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    out: Annotated[Path, typer.Option("--out", help="The folder of attention.json, .md, .png.")],
    features: FeaturesOption = None,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes on the picture sheet.")] = 6,
) -> None:
    """Where the model looks in the test scenes: against true anchors, and generic saliency."""
    from completelook_build.attention.report import print_study, study_model

    features = features or pairs.with_name("features")
    print_study(study_model(model, pairs, categories, images, features, out, scenes=scenes))
