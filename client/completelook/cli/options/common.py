"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from completelook.catalog import Condition

ModelRepository = Annotated[Path, typer.Option(metavar="DIR", help="Triton's model repository.")]
DEFAULT_MODEL_REPOSITORY = Path("model_repository")

# Done, but for some of what was given; each is told with its reason.
EXIT_SKIPPED = 3


class OnError(StrEnum):
    """What a command does about one of many inputs that cannot be used."""

    SKIP = "skip"
    FAIL = "fail"


Columns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OURS=THEIRS", help="A column of the table by another name: image=foto. Repeatable."
    ),
]


def parse_columns(given: list[str] | None) -> dict[str, str]:
    """The columns a user has named, ours -> theirs. Raises typer.BadParameter."""
    columns = {}
    for text in given or ():
        ours, separator, theirs = text.partition("=")
        if not (ours and separator and theirs):
            raise typer.BadParameter(f"{text!r}: expected OURS=THEIRS, as in image=foto")
        columns[ours] = theirs
    return columns


Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="Only products that meet it: 'price<50', 'brand=ACME', 'sizes has XL'. Repeatable.",
    ),
]


def parse_where(given: list[str] | None) -> "tuple[Condition, ...]":
    """The conditions a user has given. Raises typer.BadParameter."""
    from completelook.catalog import parse_condition
    from completelook.errors import ConditionError

    try:
        return tuple(parse_condition(text) for text in given or ())
    except ConditionError as error:
        raise typer.BadParameter(str(error)) from error


def from_0_to_1(value: float | None) -> float | None:
    """A callback for options from 0 to 1. Raises typer.BadParameter."""
    # Click's own range lets NaN through.
    if value is not None and not 0 <= value <= 1:
        raise typer.BadParameter(f"{value} is not in the range 0..1")
    return value
