"""`completelook-build download`."""

from pathlib import Path
from typing import Annotated

import typer

from completelook_build.cli.options import ImagesOption


def download(
    pairs: Annotated[Path, typer.Argument(help="JSON lines of product, scene, bbox.")],
    images: ImagesOption,
    host: Annotated[str, typer.Option(help="Where pictures are served by signature.")] = (
        "https://i.pinimg.com"
    ),
    rate: Annotated[
        float, typer.Option(min=0.001, max=1000, help="Requests a second, at most.")
    ] = 20.0,
) -> None:
    """Fetch the pictures of pairs; the same command goes on where it was stopped."""
    from completelook_build.console import say
    from completelook_build.data.download import download as fetch
    from completelook_build.data.download import list_path
    from completelook_build.data.pace import Pace
    from completelook_build.data.picture_host import is_host

    if not is_host(host):
        raise typer.BadParameter(f"{host!r}: expected a URL such as https://i.pinimg.com")
    report = fetch(pairs, images, Pace(rate), host=host)
    say(report.summary())
    if report.missing:
        say(f"{list_path(images)} lists what is missing; the same command tries again")
        raise typer.Exit(3)
