"""What the training side says: messages and progress bars on stderr, tables on stdout."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

_TABLE_WIDTH = 100


def say(message: str) -> None:
    """Tell the user something that is not a result."""
    if _speaks():
        print(message, file=sys.stderr)


def _speaks() -> bool:
    """Of the processes that torchrun starts, only the first does."""
    return os.environ.get("RANK", "0") == "0"


def results_console() -> Console:
    """The stdout for tables: as wide as the terminal, or as a table needs where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_TABLE_WIDTH)


@contextmanager
def progress_bar(label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress towards `total`; call what is yielded with the number just done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not _speaks()) as progress:
        task = progress.add_task(label, total=total, speed="")

        def advance(done: int) -> None:
            progress.advance(task, done)
            speed = progress.tasks[0].speed
            progress.update(task, speed=f"{speed:.1f}/s" if speed else "")

        yield advance
