"""`completelook look`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook.cli.options import (
    Server,
    Where,
    asks_a_server,
    from_0_to_1,
    parse_where,
    reads_pictures,
    steers,
)
from completelook.cli.output import closed_pipe_is_no_error, fields_of, print_json
from completelook.files import write_text

if TYPE_CHECKING:
    from completelook.images import PicturePolicy
    from completelook.ranking import LookOptions, Looks, Steering


@asks_a_server
@reads_pictures
@steers
def look(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="A photo: a path or URL.")],
    catalog: Annotated[str, typer.Option(metavar="CATALOG", help="Made by `completelook index`.")],
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category",
            "--slots",
            metavar="NAME,...",
            help="What belongs to it. May be repeated; all categories when left out.",
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="What all products together may cost.")
    ] = None,
    more: Annotated[
        float | None, typer.Option(min=0, help="How much more to spend is tried as well: 20.")
    ] = None,
    must: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A product that is in it. Repeatable.")
    ] = None,
    where: Where = None,
    price_column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Where prices stand.")
    ] = "price",
    coherence: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            callback=from_0_to_1,
            help="How much the products' distances to each other count, beside those to the scene.",
        ),
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column to show beside the product's name."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per look.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one self-contained page.")
    ] = None,
    receipts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what `completelook replay` needs."),
    ] = None,
    *,
    server: Server,
    pictures: "PicturePolicy",
    steering: "Steering",
) -> None:
    """Find one product a category so that they suit the scene and one another.

    The best look is printed with the two that come next, and what a little more money would buy.
    """
    from completelook.catalog import Catalog

    options: LookOptions = {
        "budget": budget,
        "must": must or (),
        "where": parse_where(where),
        "price_column": price_column,
        "steering": steering,
    }
    if more is not None:
        options["more"] = more
    if coherence is not None:
        options["coherence"] = coherence
    opened = Catalog.open(catalog)
    columns = opened.columns_to_show(show or ())
    names = [name.strip() for given in category or () for name in given.split(",")]
    with server.connect(pictures=pictures) as client, closed_pipe_is_no_error():
        looks = client.complete(scene, opened, names, **options)
        print_found(scene, looks, columns, as_json=as_json)
    if receipts is not None and looks.receipt is not None:
        write_text(receipts, looks.receipt.as_json() + "\n")
        typer.echo(f"wrote {receipts}", err=True)
    if html is not None:
        from completelook.explain import write_look

        write_look(html, scene, looks, opened, show=columns, policy=pictures)
        typer.echo(f"wrote {html}", err=True)


def print_found(scene: str, looks: "Looks", columns: tuple[str, ...], *, as_json: bool) -> None:
    """Print the looks for a scene, given by its path or URL."""
    for category in looks.left_out:
        typer.echo(f"{category}: nothing meets the conditions; left out", err=True)
    if as_json:
        _print_json(scene, looks, columns)
    else:
        from completelook.cli.output import print_looks

        print_looks(scene, looks, columns)


def _print_json(scene: str, looks: "Looks", columns: tuple[str, ...]) -> None:
    """One line a look, best first; with a budget one of kind `with_more` comes last."""
    kinds = [("look", each) for each in looks.looks]
    if looks.with_more is not None:
        kinds.append(("with_more", looks.with_more))
    for place, (kind, each) in enumerate(kinds, start=1):
        products = [{**fields_of(match), "product": match.shown(columns)} for match in each.matches]
        line = {"scene": scene, "kind": kind, "place": place, "currency": looks.currency}
        print_json(line | {**fields_of(each), "matches": products})
