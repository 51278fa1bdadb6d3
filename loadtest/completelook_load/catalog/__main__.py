"""`make bench-catalog`: a million products beside what is bare of them, into docs/catalog.md."""

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from completelook.errors import CompleteLookError, exit_with
from completelook_build.console import say

from completelook_load.catalog.engines import compared
from completelook_load.catalog.measures import Bench, index_memory_mib, rank_memory_mib
from completelook_load.catalog.page import FIGURES, PAGE, Figures, Row, write_page
from completelook_load.inputs import REPORTS


def main(
    count: Annotated[int, typer.Option(min=10_000, help="Products.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    milvus: Annotated[
        str | None, typer.Option(help="Compare with it too: milvus://HOST:PORT/NAME, for a while.")
    ] = None,
    ten_million: Annotated[
        bool, typer.Option("--ten-million", help="Open ten million too: 6 GB of disk and memory.")
    ] = False,
    page_only: Annotated[
        bool, typer.Option("--page-only", help="Measure nothing, write the page anew.")
    ] = False,
) -> None:
    """Measure everything in turn and write the page."""
    if not page_only:
        rows = _measured(REPORTS / "catalog", count, rounds, milvus, ten_million=ten_million)
        Figures(_machine(count), rows).write(FIGURES)
    write_page(PAGE, FIGURES)
    say(f"wrote {PAGE}")


def _measured(
    folder: Path, count: int, rounds: int, milvus: str | None, *, ten_million: bool
) -> list[Row]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bench = Bench(folder, count)
    few, many = (index_memory_mib(folder, each) for each in (10_000, min(count, 200_000)))
    checked = "opened and ranked in all categories: with checks / without"
    rows = [
        Row.ratio("top 10 of a category / slice @ query", bench.one_category(rounds), 1.2),
        Row.ratio("top 10 of all categories / all @ query", bench.all_categories(rounds), 1.2),
        Row.ratio("a query among 100 at once / alone", bench.many_queries(min(rounds, 3)), 0.2),
        Row.ratio("a scene ranked among 100 / alone", bench.many_scenes(min(rounds, 3)), 0.2),
        Row.ratio("top 10 / the paper's sum over 196 regions", bench.regions(1), 0.01),
        Row.ratio("opening it / opening 10,000 products", bench.opening(rounds), 2.0),
        Row.ratio("writing it, sorted / pyarrow's, as it comes", bench.writing(rounds), 2.0),
        Row.ratio(checked, bench.checks(rounds), 1.1),
        Row.ratio(f"a process that has {checked}", bench.checks_of_a_process(rounds), 1.1),
        Row("top 10 kept in half precision", bench.same_in_half(), 0.99, is_ceiling=False),
        Row("memory to rank a category", [rank_memory_mib(bench.path, 1)], 150, unit=" MiB"),
        Row("memory to index 200,000 products / 10,000", [many / few], 1.2),
    ]
    if ten_million:
        pairs = bench.opening_many(rounds, 10_000_000)
        rows.append(Row.ratio("opening 10,000,000 products / 10,000", pairs, 2.0))
    rows += [
        Row.ratio(f"category and price<500 of 200,000 / {name}", pairs, 1.0)
        for name, pairs in compared(folder, min(count, 200_000), rounds, milvus).items()
    ]
    shutil.rmtree(folder)
    return rows


def _machine(count: int) -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    software = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow"))
    return {
        "CPU": f"{len(os.sched_getaffinity(0))} cores of {model}",
        "products": f"{count:,} in 20 categories",
        "software": f"Python {platform.python_version()}, {software}",
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
