"""What commands print: JSON lines for programs, tables for people."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from completelook.cli.output.pipe import closed_pipe_is_no_error, fields_of, print_json

if TYPE_CHECKING:
    from completelook.cli.output.tables import print_gaps, print_looks, print_tables

__all__ = [
    "closed_pipe_is_no_error",
    "fields_of",
    "print_gaps",
    "print_json",
    "print_looks",
    "print_tables",
]


def __getattr__(name: str) -> Any:
    # Tables know what is ranked, whose import takes half a second.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.tables"), name)
