"""`completelook index`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook.cli.options import (
    EXIT_SKIPPED,
    Columns,
    OnError,
    Server,
    asks_a_server,
    parse_columns,
    reads_pictures,
)

if TYPE_CHECKING:
    from completelook.catalog import IndexReport, Shard, Shipment
    from completelook.images import PicturePolicy

_SHOWN = 10


@asks_a_server
@reads_pictures
def index(
    catalog: Annotated[
        str,
        typer.Option(
            metavar="CATALOG", help="The catalog to write: a file, or milvus://HOST:PORT/NAME."
        ),
    ],
    products: Annotated[
        Path | None,
        typer.Argument(
            show_default=False,
            help="A table (CSV, TSV, JSON, Parquet, Excel; a Google Merchant feed or Shopify "
            "export as it is) with columns id, image and category, or a folder with one "
            "sub-folder per category.",
        ),
    ] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Keep what the catalog holds beside these products.")
    ] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Take a product out; may be repeated, @FILE names an id a line."
        ),
    ] = None,
    half: Annotated[
        bool,
        typer.Option("--half", help="In half precision: half the file, a slower search."),
    ] = False,
    column: Columns = None,
    category_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="CSV of the shop's categories and the model's: `categories --map`."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would be indexed, and embed nothing.")
    ] = False,
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="The I-th of N parts alone, for as many machines; it is stable by the id. A "
            "file's parts are FILE.I-of-N, to be joined by `catalog merge`.",
        ),
    ] = "1/1",
    on_error: Annotated[
        OnError, typer.Option(help="About a product that cannot be indexed.")
    ] = OnError.SKIP,
    *,
    server: Server,
    pictures: "PicturePolicy",
) -> None:
    """Embed products into a catalog; what is there already and has not changed is kept.

    Exit code 3: the catalog is written, but some of what was given could not be indexed; each is
    listed with its reason in FILE.failures.csv.
    """
    if (products is None) == (not remove) or (remove and (add or check)):
        raise typer.BadParameter("give PRODUCTS, or else --remove ID alone")
    if products is None:
        _remove(catalog, remove or [])
        return
    from completelook.catalog import WHOLE, in_shard, parse_shard, prepare
    from completelook.catalog import index as index_products
    from completelook.catalog.milvus import is_milvus, parse_address
    from completelook.progress import progress_bar

    part = parse_shard(shard)
    with server.connect(pictures=pictures) as look:
        shipment = prepare(
            products,
            look.categories(),
            columns=parse_columns(column),
            category_map=category_map,
        )
        shipment = in_shard(shipment, part)
        _print_shipment(shipment)
        if check:
            raise typer.Exit(EXIT_SKIPPED if shipment.skipped else 0)
        with progress_bar("indexing", unit="images") as bar:
            report = index_products(
                shipment,
                catalog,
                look,
                shard=part,
                add=add,
                half=half,
                on_error=on_error.value,
                progress=bar.update,
                notice=_say,
            )
    _print_report(report, catalog, part)
    if is_milvus(catalog) and parse_address(catalog).index == "HNSW" and part == WHOLE:
        _print_recall(catalog)
    if report.skipped:
        raise typer.Exit(EXIT_SKIPPED)


def _remove(location: str, wanted: list[str]) -> None:
    """Take products out of a catalog; exit code 3 where it lacks some of them."""
    from completelook.catalog import Catalog

    ids = dict.fromkeys(id_ for each in wanted for id_ in _ids(each))
    catalog = Catalog.open(location)
    gone = catalog.delete(ids)
    _say(f"wrote {location}: {len(catalog)} products, {gone} removed")
    if gone < len(ids):
        _say(f"{len(ids) - gone} of the {len(ids)} ids were not in it")
        raise typer.Exit(EXIT_SKIPPED)


def _ids(wanted: str) -> list[str]:
    from completelook.errors import TableError

    if not wanted.startswith("@"):
        return [wanted]
    try:
        lines = Path(wanted[1:]).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{wanted[1:]}: cannot be read, expected an id a line: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _print_shipment(shipment: "Shipment") -> None:
    """Say on stderr, before anything is embedded, all that is known of what was given."""
    total = shipment.table.num_rows
    _say(f"{total} products, {shipment.rankable} of a category that the model knows")
    for note in shipment.notes:
        _say(note)
    unknown = list(shipment.unknown_categories.items())
    for name, count in unknown[:_SHOWN]:
        those = "product is" if count == 1 else "products are"
        _say(f"{count} {those} of {name!r}, which the model does not know")
    if len(unknown) > _SHOWN:
        _say(f"and {sum(count for _, count in unknown[_SHOWN:])} of {len(unknown) - _SHOWN} more")
    if unknown:
        _say("`completelook categories --map PRODUCTS` drafts a file for --category-map")
    for skip in shipment.skipped[:_SHOWN]:
        named = f"row {skip.row}" + (
            f", {skip.id or skip.image!r}" if skip.id or skip.image else ""
        )
        _say(f"skipped: {named}: {skip.reason}")
    if len(shipment.skipped) > _SHOWN:
        _say(f"skipped: {len(shipment.skipped) - _SHOWN} more")


def _print_report(report: "IndexReport", catalog: str, shard: "Shard") -> None:
    """Say on stderr what an indexing run did; the catalog is its only result."""
    from completelook.catalog import failures_path

    reused = f", {report.reused} as they were" if report.reused else ""
    _say(
        f"wrote {catalog}: {report.indexed} products{reused} at {report.images_per_s:.1f} images/s"
    )
    if sum(report.unknown_categories.values()) >= report.indexed:
        _say("`completelook rank` has nothing to rank: the model knows none of these categories")
    if report.skipped:
        _say(f"skipped {len(report.skipped)}, see {failures_path(catalog, shard)}")


def _print_recall(location: str) -> None:
    """Say how exact a catalog is whose index is not."""
    from completelook.catalog.milvus import MilvusCatalog, recall

    catalog = MilvusCatalog(location)
    _say(f"HNSW with ef {catalog.address.ef} finds {recall(catalog):.3f} of the true 10 nearest")


def _say(line: str) -> None:
    typer.echo(line, err=True)
