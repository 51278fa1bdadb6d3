"""The figures of every fault, and docs/reliability.md, which is made of them."""

import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from completelook.files import write_text
from completelook_build.report import made_by, markdown_table, replace_blocks, stale_note

from completelook_load.faults.kinds import FAULTS
from completelook_load.faults.tally import Tally
from completelook_load.processes import machine

PAGE = Path("docs/reliability.md")
FIGURES = Path("docs/benchmarks/reliability/figures.json")
# What decides the figures, faults themselves aside.
MODULES = (
    "completelook.server.serve",
    *(f"completelook.triton.{name}" for name in ("failures", "retries")),
    "completelook.storage.seal",
    "completelook_load.faults.tally",
    "completelook_load.faults.proxy",
)
_COLUMNS = ("lost", "doubled", "wrong", "hung", "left")


def keep(figures: Path, name: str, tally: Tally) -> None:
    """Put a fault's figures beside those of the others, in place of its earlier ones."""
    rows = json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else {}
    made_on = f"{machine()}, Linux, Python {platform.python_version()}"
    rows[name] = {"machine": made_on, "made_by": made_by(*MODULES), "tally": tally.as_json()}
    write_text(figures, json.dumps(rows, indent=1) + "\n")


def write_page(page: Path, figures: Path) -> None:
    """Fill the page's block with the figures; the text around it stays. Raises DataError."""
    rows = json.loads(figures.read_text(encoding="utf-8"))
    blocks = {"faults": "\n".join(_lines(rows)) + "\n"}
    write_text(page, replace_blocks(page.read_text(encoding="utf-8"), blocks))


def _lines(rows: Mapping[str, Any]) -> Iterator[str]:
    """The table in the order of the faults, and a note for each that has one."""
    shown = {name: rows[name] for name in FAULTS if name in rows}
    stale = [stale_note(row, *MODULES, command="make torture") for row in shown.values()]
    yield next(filter(None, stale), "") + "; ".join({row["machine"]: 0 for row in shown.values()})
    yield ""
    tallies = {name: Tally(**row["tally"]) for name, row in shown.items()}
    headings = ("fault", "times", "answered", "told", *_COLUMNS, "back after, p50", "longest")
    yield markdown_table(headings, (_cells(name, each) for name, each in tallies.items()))
    for name, tally in tallies.items():
        told = ", ".join(f"{count} {error}" for error, count in sorted(tally.told.items()))
        notes = [*tally.notes, *([f"told: {told}"] if told else []), *tally.problems[:3]]
        if notes:
            yield f"- {name}: {FAULTS[name].text}. {'; '.join(notes)}."


def _cells(name: str, tally: Tally) -> list[str]:
    seconds = tally.recovery_s
    back = [f"{median(seconds):.1f} s", f"{max(seconds):.1f} s"] if seconds else ["-", "-"]
    counts = [tally.injected, tally.answered, sum(tally.told.values())]
    counts += [getattr(tally, column) for column in _COLUMNS]
    return [name, *map(str, counts), *back]
