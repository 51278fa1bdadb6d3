"""What programs read: JSON lines on a standard output that its reader may close."""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import typer


@contextmanager
def closed_pipe_is_no_error() -> Iterator[None]:
    """End the command well once nobody reads its output any more, as `| head` does."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def print_json(line: Mapping[str, Any]) -> None:
    """Print one JSON object as a line."""
    typer.echo(json.dumps(_as_json(line), ensure_ascii=False, allow_nan=False))


def fields_of(record: Any) -> dict[str, Any]:
    """The fields of a dataclass by their names, those within them as they are."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _as_json(value: Any) -> Any:
    """A value of any column as JSON has it: no number as null, a date or a decimal as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    return str(value)
