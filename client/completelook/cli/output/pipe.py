"""What programs read: JSON lines on a standard output that its reader may close."""

import json
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
    from completelook.products import as_json

    typer.echo(json.dumps(as_json(line), ensure_ascii=False, allow_nan=False))


def fields_of(record: Any) -> dict[str, Any]:
    """The fields of a dataclass by their names, those within them as they are."""
    return {field.name: getattr(record, field.name) for field in fields(record)}
