"""`completelook-build stats`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from completelook_build.cli.options import CategoriesOption, ImagesOption, PairsOption


def stats(
    pairs: PairsOption,
    categories: CategoriesOption,
    images: ImagesOption,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """What the data is: scenes, products, pairs, categories, crops, and what is dropped."""
    from completelook.files import write_text

    from completelook_build.data.pairs import read_pairs
    from completelook_build.data.stats import describe, print_tables

    description = describe(read_pairs(pairs, categories, images))
    print_tables(description)
    if json_path is not None:
        write_text(json_path, json.dumps(description.as_json(), indent=2) + "\n")
