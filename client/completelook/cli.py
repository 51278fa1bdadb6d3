"""The command line: parse, call the library, print. Heavy imports wait inside the commands."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook._errors import CompleteLookError

if TYPE_CHECKING:
    from completelook._catalog import Catalog
    from completelook._indexing import IndexReport
    from completelook._ranking import RankedScene

_EXIT_SKIPPED_IMAGES = 3

app = typer.Typer(
    help="Rank the products of a catalog that complement a scene photo, category by category.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Server = Annotated[
    str,
    typer.Option(envvar="COMPLETELOOK_SERVER", metavar="HOST:PORT", help="Triton's gRPC endpoint."),
]
ModelRepository = Annotated[Path, typer.Option(metavar="DIR", help="Triton's model repository.")]
DEFAULT_SERVER = "localhost:8001"
DEFAULT_MODEL_REPOSITORY = Path("model_repository")


class OnError(StrEnum):
    """What `index` does about a product that cannot be embedded."""

    SKIP = "skip"
    FAIL = "fail"


@app.command()
def serve(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGS]", help="Passed on to tritonserver as they are."),
    ] = None,
    model_repository: ModelRepository = DEFAULT_MODEL_REPOSITORY,
    grpc_port: Annotated[int, typer.Option(help="Where the client connects.")] = 8001,
    http_port: Annotated[int, typer.Option()] = 8000,
    metrics_port: Annotated[int, typer.Option()] = 8002,
) -> None:
    """Start the embedded Triton server; Ctrl-C stops it."""
    from completelook.server._serve import serve as serve_models

    serve_models(
        model_repository,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        arguments=arguments or [],
    )


@app.command()
def doctor(
    server: Server = DEFAULT_SERVER,
    model_repository: ModelRepository = DEFAULT_MODEL_REPOSITORY,
) -> None:
    """Check that a server and this client fit together, and say how to mend what does not."""
    from completelook._doctor import diagnose

    failed = False
    for check in diagnose(server, model_repository=model_repository):
        mark = typer.style("ok  ", "green") if check.passed else typer.style("FAIL", "red")
        typer.echo(f"{mark}  {check.subject}: {check.finding}")
        failed |= not check.passed
    raise typer.Exit(int(failed))


@app.command()
def categories(server: Server = DEFAULT_SERVER) -> None:
    """List the categories the server's model knows."""
    from completelook._client import CompleteLook

    with CompleteLook(server) as look:
        for name in look.categories:
            typer.echo(name)


@app.command()
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
    from completelook._client import CompleteLook
    from completelook._indexing import index as index_products

    with CompleteLook(server) as look:
        report = index_products(products, catalog, look, on_error=on_error.value)
    _print_index_report(report, catalog)
    if report.failures:
        raise typer.Exit(_EXIT_SKIPPED_IMAGES)


def _from_0_to_1(value: float | None) -> float | None:
    # Click's own range lets NaN through.
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(f"{value} is not in the range 0..1")
    return value


@app.command()
def rank(
    scenes: Annotated[list[str], typer.Argument(metavar="SCENE", help="Photos: paths or URLs.")],
    catalog: Annotated[Path, typer.Option(metavar="FILE", help="Made by `completelook index`.")],
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="May be repeated; all categories when left out."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Products per category.")] = 10,
    min_compatibility: Annotated[
        float | None,
        typer.Option(
            metavar="0..1", callback=_from_0_to_1, help="Leave out what fits less; may leave none."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per product and line.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one self-contained page.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a picture per category: where the model looked."),
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Rank the products of a catalog that complement each scene."""
    from completelook._catalog import Catalog
    from completelook._client import CompleteLook

    opened = Catalog.open(catalog)
    keep_regions = html is not None or explain is not None
    ranked = []
    with CompleteLook(server) as look:
        for scene in look.rank_scenes(
            scenes,
            opened,
            categories=category or (),
            top=top,
            min_compatibility=min_compatibility,
            regions=keep_regions,
        ):
            _print_matches(scene, opened, as_json=as_json)
            if keep_regions:
                ranked.append(scene)
    if explain is not None:
        _save_overlays(ranked, opened, explain)
    if html is not None:
        _save_report(ranked, opened, html)


def _print_matches(scene: "RankedScene", catalog: "Catalog", *, as_json: bool) -> None:
    if not as_json:
        from completelook._tables import print_tables

        print_tables(scene, catalog)
        return
    for category, matches in scene.matches.items():
        if not matches:
            typer.echo(f"{category} for {scene.source}: nothing fits", err=True)
        for match in matches:
            line = {"scene": scene.source, **asdict(match)}
            del line["row"]
            typer.echo(json.dumps(line, ensure_ascii=False))


def _save_overlays(scenes: Sequence["RankedScene"], catalog: "Catalog", directory: Path) -> None:
    from completelook._explain import save_overlays

    paths = save_overlays(scenes, catalog.categories, directory)
    typer.echo(f"wrote {len(paths)} pictures to {directory}", err=True)


def _save_report(scenes: Sequence["RankedScene"], catalog: "Catalog", path: Path) -> None:
    from completelook._report import write_report

    write_report(path, scenes, catalog)
    typer.echo(f"wrote {path}", err=True)


def _print_index_report(report: "IndexReport", catalog: Path) -> None:
    """Say on stderr what an indexing run did; the catalog is its only result."""
    from completelook._indexing import failures_path

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


def main() -> None:
    """Run the command line; an error a user can cause becomes one line and exit code 1."""
    # gRPC's core logs a server that goes away to stderr, beside the error that says so.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        app()
    except (CompleteLookError, OSError) as exc:
        typer.echo(f"error: {' '.join(str(exc).split())}", err=True)
        sys.exit(1)
