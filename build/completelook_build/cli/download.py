"""`completelook-build download`."""

from pathlib import Path
from typing import Annotated

import typer


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
