"""Progress bars on stderr, for the command lines; the library itself shows none."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _SpeedColumn(ProgressColumn):
    """How many a second; worked out when the bar is drawn, since it looks at all that was told."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class ProgressBar:
    """A bar that appears with the first progress, so that what fails before shows none."""

    def __init__(self, label: str, *, unit: str, total: int | None, hidden: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            _SpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            redirect_stdout=False,
            disable=hidden,
        )
        self._task = self._progress.add_task(label, total=total)

    def advance(self, count: int) -> None:
        """Show that so many more are done."""
        self._progress.start()
        self._progress.advance(self._task, count)

    def update(self, done: int, total: int) -> None:
        """Show how many are done, and of how many."""
        self._progress.start()
        self._progress.update(self._task, completed=done, total=total)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._progress.live.is_started:
            self._progress.stop()


@contextmanager
def progress_bar(
    label: str, *, unit: str, total: int | None = None, hidden: bool = False
) -> Iterator[ProgressBar]:
    """Show progress towards `total`, which `ProgressBar.update` may tell later."""
    bar = ProgressBar(label, unit=unit, total=total, hidden=hidden)
    try:
        yield bar
    finally:
        bar.close()
