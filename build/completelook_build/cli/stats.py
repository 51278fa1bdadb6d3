"""`completelook-build stats`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


@dataset_options
def stats(
    dataset: "Dataset",
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """What the data is: scenes, products, pairs, categories, crops, and what is dropped."""
    from completelook.files import write_text

    from completelook_build.data import describe, print_tables

    description = describe(dataset.read())
    print_tables(description)
    if json_path is not None:
        write_text(json_path, json.dumps(description.as_json(), indent=2) + "\n")
