"""`completelook index`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook.cli.options import DEFAULT_SERVER, Server

if TYPE_CHECKING:
    from completelook.catalog import IndexReport

_EXIT_SKIPPED_IMAGES = 3


class OnError(StrEnum):
    """What `index` does about a product that cannot be embedded."""

    SKIP = "skip"
    FAIL = "fail"


def index(
    products: Annotated[
        Path,
        typer.Argument(
            help="A CSV, Parquet or JSON-lines table with columns id, image and category, "
            "or a folder with one sub-folder per category."
        ),
    ],
    catalog: Annotated[Path, typer.Option(metavar="FILE", help="The catalog to write.")],
    server: Server = DEFAULT_SERVER,
    on_error: Annotated[
        OnError, typer.Option(help="About a product that cannot be embedded.")
    ] = OnError.SKIP,
) -> None:
    """Embed products into a catalog file."""
    from completelook.catalog import index as index_products
    from completelook.clients import CompleteLook
    from completelook.progress import progress_bar

    with CompleteLook(server) as look, progress_bar("indexing", unit="images") as bar:
        report = index_products(
            products, catalog, look, on_error=on_error.value, progress=bar.update
        )
    _print_index_report(report, catalog)
    if report.failures:
        raise typer.Exit(_EXIT_SKIPPED_IMAGES)


def _print_index_report(report: "IndexReport", catalog: Path) -> None:
    """Say on stderr what an indexing run did; the catalog is its only result."""
    from completelook.catalog import failures_path

    typer.echo(
        f"wrote {catalog}: {report.indexed} products at {report.images_per_s:.1f} images/s",
        err=True,
    )
    for name, count in report.unknown_categories.items():
        typer.echo(f"{count} products are of {name!r}, which the model does not know", err=True)
    if sum(report.unknown_categories.values()) >= report.indexed:
        typer.echo(
            "the model knows none of these categories, so `completelook rank` has nothing to rank: "
            "see `completelook categories`",
            err=True,
        )
    if report.failures:
        typer.echo(f"skipped {len(report.failures)} images, see {failures_path(catalog)}", err=True)
