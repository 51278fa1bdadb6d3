"""`completelook categories`."""

from pathlib import Path
from typing import Annotated

import typer

from completelook.cli.options import Columns, Server, asks_a_server, parse_columns


@asks_a_server
def categories(
    products: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="PRODUCTS", help="Draft a map from this table's categories, as CSV."
        ),
    ] = None,
    column: Columns = None,
    catalog: Annotated[
        str | None,
        typer.Option(
            metavar="CATALOG",
            help="With --map: a catalog of this model, to compare pictures with.",
        ),
    ] = None,
    *,
    server: Server,
) -> None:
    """List the categories the server's model knows, or draft a map from a shop's to them."""

    with server.connect() as look:
        if products is None:
            for name in look.categories():
                typer.echo(name)
            return
        from completelook.catalog import Catalog, draft_category_map

        known = None if catalog is None else Catalog.open(catalog)
        typer.echo(draft_category_map(products, look, parse_columns(column), known), nl=False)
