"""`completelook-build calibrate`."""

from pathlib import Path
from typing import Annotated

import typer

from completelook_build.cli.options import (
    CategoriesOption,
    FeaturesOption,
    ImagesOption,
    PairsOption,
)


def calibrate(
    model: Annotated[Path, typer.Option("--model", help="A trained model's folder.")],
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    features: FeaturesOption = None,
) -> None:
    """Fit what a distance means, as a probability, and store it with the model for `export`."""
    from completelook_build.evaluation.calibration import calibrate_model

    report = calibrate_model(
        model, pairs, categories, images, features or pairs.with_name("features")
    )
    print(report.as_text())
