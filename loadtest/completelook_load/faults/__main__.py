"""`make torture`: every fault, many times each, into docs/reliability.md."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from completelook.errors import CompleteLookError, exit_with
from completelook_build.console import say

from completelook_load.faults.kinds import FAULTS, Fault
from completelook_load.faults.page import FIGURES, PAGE, keep, write_page
from completelook_load.faults.stand import Stand
from completelook_load.faults.tally import Tally
from completelook_load.inputs import REPORTS


def main(
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Some of {', '.join(FAULTS)}.")
    ] = None,
    times: Annotated[
        int | None, typer.Option(min=1, help="How often each; else as often as it takes.")
    ] = None,
    page_only: Annotated[
        bool, typer.Option("--page-only", help="Break nothing, write the page anew.")
    ] = False,
) -> None:
    """Inject faults, count what becomes of the answers, and write the page.

    Exit code 1: something was lost, doubled, wrong, hung or left behind.
    """
    chosen = [] if page_only else list(only or FAULTS)
    if unknown := [name for name in chosen if name not in FAULTS]:
        raise typer.BadParameter(f"--only {unknown[0]}: expected one of {', '.join(FAULTS)}")
    is_clean = True
    for name in chosen:
        tally = _tortured(name, FAULTS[name], times)
        keep(FIGURES, name, tally)
        is_clean &= tally.is_clean
    write_page(PAGE, FIGURES)
    say(f"wrote {PAGE}")
    if not is_clean:
        raise typer.Exit(1)


def _tortured(name: str, fault: Fault, times: int | None) -> Tally:
    REPORTS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="torture-", dir=REPORTS))
    tally = Tally()
    say(f"{name}: {fault.text}")
    try:
        fault.inject(Stand(folder), tally, times or fault.times)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"  {tally.injected} times: {'as it must be' if tally.is_clean else 'NOT as it must be'}")
    for line in [*tally.problems[:5], *map(": ".join, tally.said.items())]:
        say(f"  {line}")
    return tally


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
