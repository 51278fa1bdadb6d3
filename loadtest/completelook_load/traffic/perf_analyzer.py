"""NVIDIA's own load generator, perf_analyzer, on the same server, to put beside our figures.

It is run where it is on PATH, and finding the libraries that it needs is the business of whoever
put it there. A closed loop: so many requests are in flight all the time, each the same random
picture, which a server that remembers answers would not compute.
"""

import csv
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from completelook.contract import EMBED_SCENE
from completelook.files import write_text
from completelook.server import bound_to_this_process, owners_headers
from completelook_build.console import say

_PROGRAM = "perf_analyzer"
_REPORT = "perf_analyzer.csv"
CONCURRENCIES = (1, 4, 16)
# It wants three windows that agree, and gives up without a figure where ten do not. Here three are
# enough however far they are apart, which bounds its time; it makes one a fifth longer than asked.
WINDOWS = 3
WINDOW_S = 5.0
_ANY_PERCENTAGE = 1_000_000
# Its start, and requests that linger.
_GRACE_S = 60.0
_LONGEST_S = 2 * WINDOWS * WINDOW_S + _GRACE_S

_CONCURRENCY, _THROUGHPUT = "Concurrency", "Inferences/Second"
_P50_US, _P95_US = "p50 latency", "p95 latency"


@dataclass(frozen=True)
class ClosedLoop:
    """What perf_analyzer measured with so many requests in flight."""

    concurrency: int
    throughput: float  # inferences per second
    p50_s: float
    p95_s: float


@dataclass(frozen=True)
class Figures:
    """Everything that perf_analyzer measured, and why it is not all where it is not."""

    loops: tuple[ClosedLoop, ...]
    missing: str | None = None  # a sentence


class _Failure(Exception):
    """perf_analyzer did not do what it was asked for; never leaves this module."""


def measure(server: str, reports: Path) -> Figures:
    """Run perf_analyzer on a server at each concurrency, and keep its CSV among the reports.

    A failure of perf_analyzer is no failure here: it is said, and told in the figures.
    """
    report = reports / _REPORT
    report.unlink(missing_ok=True)  # of an earlier run
    program = shutil.which(_PROGRAM)
    if program is None:
        return Figures((), f"{_PROGRAM} is not on PATH, so its figures are not here.")
    say(f"{_PROGRAM}, about {1.2 * WINDOWS * WINDOW_S * len(CONCURRENCIES):.0f} s")
    lines: list[str] = []
    missing = None
    for concurrency in CONCURRENCIES:
        try:
            header, line = _measure_one(program, server, concurrency)
        except _Failure as failure:
            missing = f"{_PROGRAM} failed with {concurrency} in flight: {failure}"
            say(missing)
            break
        lines += [line] if lines else [header, line]
    if lines:
        write_text(report, "\n".join(lines) + "\n")
    return Figures(parse_report(lines), missing)


def _measure_one(program: str, server: str, concurrency: int) -> tuple[str, str]:
    """The header and the one line of the CSV. Raises _Failure."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / _REPORT
        _run(program, server, concurrency, report)
        try:
            lines = report.read_text(encoding="utf-8").splitlines()
            measured = [loop.concurrency for loop in parse_report(lines)]
        except (OSError, ValueError) as error:
            raise _Failure(f"its CSV cannot be read: {_last_line(str(error))}") from error
    if measured != [concurrency]:
        raise _Failure(f"its CSV has the concurrencies {measured}, expected [{concurrency}]")
    return lines[0], lines[1]


def _run(program: str, server: str, concurrency: int, report: Path) -> None:
    arguments = {
        "-m": EMBED_SCENE.name, "-i": "grpc", "-u": server, "-b": 1, "--input-data": "random",
        "--concurrency-range": f"{concurrency}:{concurrency}:1",
        "--measurement-interval": round(1000 * WINDOW_S), "--max-trials": WINDOWS,
        "--stability-percentage": _ANY_PERCENTAGE, "-f": report,
    }  # fmt: skip
    options = [str(part) for pair in arguments.items() for part in pair]
    # It reads the server's statistics before and after.
    for header, value in owners_headers(server).items():
        options += ["-H", f"{header}:{value}"]
    try:
        done = subprocess.run(
            bound_to_this_process([program, *options]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _Failure(f"it did not end within {_LONGEST_S:g} s and was ended") from error
    if done.returncode:
        raise _Failure(_last_line(done.stderr) or f"exit status {done.returncode}")


def parse_report(lines: list[str]) -> tuple[ClosedLoop, ...]:
    """The figures of a CSV of perf_analyzer's. Raises ValueError."""
    try:
        rows = list(csv.DictReader(lines, restval="", strict=True))
        return tuple(map(_parse_row, rows))
    except KeyError as error:
        raise ValueError(f"there is no column {error}") from error
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _parse_row(row: dict[str, str]) -> ClosedLoop:
    return ClosedLoop(
        concurrency=int(row[_CONCURRENCY]),
        throughput=float(row[_THROUGHPUT]),
        p50_s=float(row[_P50_US]) / 1e6,
        p95_s=float(row[_P95_US]) / 1e6,
    )


def _last_line(text: str) -> str:
    """The last line that says something; a program ends with what stopped it."""
    said = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return said[-1] if said else ""
