"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

PairsOption = Annotated[Path, typer.Option("--pairs", help="JSON lines of product, scene, bbox.")]
CategoriesOption = Annotated[
    Path, typer.Option("--categories", help="JSON map of product to category.")
]
ImagesOption = Annotated[Path, typer.Option("--images", help="Folder of ID.jpg pictures.")]
FeaturesOption = Annotated[
    Path | None,
    typer.Option("--features", help="Feature cache folder; beside the pairs if not given."),
]
