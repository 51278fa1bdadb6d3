"""`completelook catalog`: what one is, whether it is sound, several made one, other formats."""

from pathlib import Path
from typing import Annotated

import typer

from completelook.cli.output import fields_of, print_json

commands = typer.Typer(no_args_is_help=True, help="Look after catalogs.")
_File = Annotated[Path, typer.Argument(metavar="FILE", help="Made by `completelook index`.")]


@commands.command()
def info(
    catalog: Annotated[str, typer.Argument(metavar="CATALOG", help="A file, or where it is.")],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say what a catalog holds, by what model, and the file's size and digest."""
    from completelook.catalog import Catalog, describe

    found = describe(Catalog.open(catalog))
    if as_json:
        print_json(fields_of(found))
        return
    typer.echo(f"{found.location}: {found.products} products, model {found.model_id}")
    if found.size_bytes is not None:
        typer.echo(f"{found.size_bytes:,} bytes, SHA-256 {found.sha256}")
    for name, count in found.category_counts.items():
        unknown = " (unknown to the model)" if name in found.unknown_categories else ""
        typer.echo(f"  {count:>9,}  {name}{unknown}")
    for name, kind in found.columns.items():
        typer.echo(f"  column {name!r}: {kind}")


@commands.command()
def validate(catalog: _File) -> None:
    """Read all of a catalog: checksums, order, unique ids, embeddings of length 1.

    Exit code 1 and one line for what is wrong.
    """
    from completelook.catalog import ArrowCatalog

    opened = ArrowCatalog(catalog)
    opened.validate()
    typer.echo(f"{catalog}: sound, {len(opened)} products")


@commands.command()
def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="FILE", help="Catalogs of one model.")],
    into: Annotated[Path, typer.Option(metavar="FILE", help="The catalog to write.")],
    last_wins: Annotated[
        bool,
        typer.Option("--last-wins", help="Of unlike products of one id, the last file's is taken."),
    ] = False,
) -> None:
    """Make one catalog of several, such as the parts of several machines.

    A product that several hold alike is in it once; unlike ones of one id are an error.
    """
    from completelook.catalog import merge as merge_catalogs

    count = merge_catalogs(parts, into, last_wins=last_wins)
    typer.echo(f"wrote {into}: {count} products", err=True)


@commands.command()
def export(
    catalog: _File,
    table: Annotated[Path, typer.Argument(metavar="TABLE", help=".csv, .parquet or .jsonl.")],
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="With the embedding of each product.")
    ] = False,
) -> None:
    """Write a catalog's products as a table for other programs."""
    from completelook.catalog import Catalog
    from completelook.catalog import export as export_catalog

    count = export_catalog(Catalog.open(catalog), table, embeddings=embeddings)
    typer.echo(f"wrote {table}: {count} products", err=True)
