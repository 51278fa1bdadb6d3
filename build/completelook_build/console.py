"""What the training side says on stderr: messages and progress bars."""

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


def say(message: str) -> None:
    """Tell the user something that is not a result."""
    print(message, file=sys.stderr)


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
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, speed="")

        def advance(done: int) -> None:
            progress.advance(task, done)
            speed = progress.tasks[0].speed
            progress.update(task, speed=f"{speed:.1f}/s" if speed else "")

        yield advance
