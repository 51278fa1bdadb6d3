"""`completelook replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from completelook.cli.look import print_found
from completelook.cli.options import reads_pictures
from completelook.cli.output import closed_pipe_is_no_error
from completelook.cli.rank import print_matches

if TYPE_CHECKING:
    from completelook.images import PicturePolicy
    from completelook.ranking import Receipt

_DIFFERENCES_SHOWN = 5


@reads_pictures
def replay(
    receipts: Annotated[
        Path, typer.Argument(metavar="RECEIPT", help="Written by `rank` or `look` with --receipts.")
    ],
    catalog: Annotated[
        str | None, typer.Option(metavar="CATALOG", help="Where the catalog is, if elsewhere now.")
    ] = None,
    scene: Annotated[
        str | None, typer.Option(metavar="SCENE", help="Where the photo is, if elsewhere now.")
    ] = None,
    show: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column to show beside the product's name."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per product and line.")
    ] = False,
    *,
    pictures: "PicturePolicy",
) -> None:
    """Give answers again from their receipts, bit for bit, or say what is no longer there.

    No server is asked: a receipt holds what the model said of the photo. Exit code 1: an answer
    cannot be given again, or is another one.
    """
    from completelook.errors import UsageError
    from completelook.ranking import changed_picture

    given = _read(receipts)
    if scene is not None and len(given) > 1:
        raise UsageError(f"{receipts} holds {len(given)} receipts: --scene is the photo of one")
    failed = 0
    with closed_pipe_is_no_error():
        for receipt in given:
            place = catalog or receipt.catalog
            is_same = _replayed(receipt, place, tuple(show or ()), as_json=as_json)
            failed += not is_same
            if picture := changed_picture(receipt, scene, policy=pictures):
                _say(receipt, picture)
    if failed:
        raise typer.Exit(1)


def _read(path: Path) -> "list[Receipt]":
    from completelook.errors import ReceiptError
    from completelook.ranking import Receipt

    receipts = []
    # Not splitlines: a name may hold what is a line's end to Unicode.
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                receipts.append(Receipt.from_json(line))
            except ReceiptError as error:
                raise ReceiptError(f"{path}, line {number}: {error}") from error
    if not receipts:
        raise ReceiptError(f"{path}: holds no receipt")
    return receipts


def _replayed(receipt: "Receipt", catalog: str, show: tuple[str, ...], *, as_json: bool) -> bool:
    """Print an answer that is the same, and say what there is to say of it."""
    from completelook.catalog import Catalog
    from completelook.errors import CatalogError
    from completelook.ranking import Looks, replay

    try:
        opened = Catalog.open(catalog)
        columns = opened.columns_to_show(show)
        found = replay(receipt, opened)
    except CatalogError as error:
        _say(receipt, f"the catalog: {error}; --catalog names another place")
        return False
    for part in found.changed:
        _say(receipt, part)
    if found.is_same:
        if isinstance(found.answer, Looks):
            print_found(receipt.scene, found.answer, columns, as_json=as_json)
        elif found.answer is not None:
            print_matches(receipt.scene, found.answer, columns, as_json=as_json)
        _say(receipt, "the same answer, bit for bit")
        return True
    for difference in found.differences[:_DIFFERENCES_SHOWN]:
        _say(receipt, f"the answer: {difference}")
    if (more := len(found.differences) - _DIFFERENCES_SHOWN) > 0:
        _say(receipt, f"the answer: and {more} more differences")
    return False


def _say(receipt: "Receipt", what: str) -> None:
    typer.echo(f"{receipt.scene}: {' '.join(what.split())}", err=True)
