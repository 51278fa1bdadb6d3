"""`completelook-build showroom`, `download` and `stats`: getting data, and looking at it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook_build.cli.options import dataset_options

if TYPE_CHECKING:
    from completelook_build.data import Dataset


def showroom(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    scenes: Annotated[int, typer.Option(min=10, help="How many rooms.")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
) -> None:
    """Render rooms and products whose fit follows a hidden rule: data without a download."""
    from completelook_build.showroom import render_showroom

    render_showroom(out, scenes=scenes, seed=seed)


def download(
    pairs: Annotated[Path, typer.Argument(help="JSON lines of product, scene, bbox.")],
    images: Annotated[Path, typer.Option("--images", help="The folder of ID.jpg pictures.")],
    host: Annotated[str, typer.Option(help="Where pictures are served by signature.")] = (
        "https://i.pinimg.com"
    ),
    rate: Annotated[
        float, typer.Option(min=0.001, max=1000, help="Requests a second, at most.")
    ] = 20.0,
) -> None:
    """Fetch the pictures of pairs; the same command goes on where it was stopped."""
    from completelook_build.console import say
    from completelook_build.data import RateLimit, download_pictures, is_host, list_path

    if not is_host(host):
        raise typer.BadParameter(f"{host!r}: expected a URL such as https://i.pinimg.com")
    report = download_pictures(pairs, images, RateLimit(rate), host=host)
    say(report.summary())
    if report.missing:
        say(f"{list_path(images)} lists what is missing; the same command tries again")
        raise typer.Exit(3)


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
