"""What the training side says: messages and progress bars on stderr, tables on stdout."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from completelook import progress
from rich import box
from rich.console import Console
from rich.table import Table

_TABLE_WIDTH = 100  # where stdout is no terminal: what the widest table needs


def say(message: str) -> None:
    """Tell the user something that is not a result."""
    if _speaks():
        print(message, file=sys.stderr)


def _speaks() -> bool:
    """Of the processes that torchrun starts, only the first does."""
    return os.environ.get("RANK", "0") == "0"


def print_figures(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, note: str = ""
) -> None:
    """Print a table of names and figures on stdout, and how to read it.

    Cells hold the console's markup; a row named "all" is set apart.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    # Eight columns of figures fit into 100 characters without a space on both sides.
    table.padding = (0, 0) if len(headings) > 6 else (0, 1)
    table.add_column(headings[0], overflow="fold")
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row[0].partition("\n")[0] == "all":
            table.add_section()
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_TABLE_WIDTH)
    console.print(table)
    if note:
        console.print(note, highlight=False)


@contextmanager
def progress_bar(label: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress towards `total`; call what is yielded with the number just done."""
    with progress.progress_bar(label, total=total, unit=unit, hidden=not _speaks()) as bar:
        yield bar.advance
