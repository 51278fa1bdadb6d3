"""`make bench-catalog`: a million products beside what is bare of them, into docs/catalog.md."""

import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
from completelook_load.processes import machine


def main(
    count: Annotated[int, typer.Option(min=10_000, help="Products.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    milvus: Annotated[
        str | None,
        typer.Option(help="Measure that alone: milvus://HOST:PORT/NAME, a catalog to be made."),
    ] = None,
    ten_million: Annotated[
        bool, typer.Option("--ten-million", help="Measure that alone: 6 GB of disk, 4 of memory.")
    ] = False,
    page_only: Annotated[
        bool, typer.Option("--page-only", help="Measure nothing, write the page anew.")
    ] = False,
) -> None:
    """Measure everything in turn and write the page; what is measured alone joins the rest."""
    if milvus is not None or ten_million:
        rows = _measured_alone(REPORTS / "catalog", count, rounds, milvus)
        Figures.read(FIGURES).with_rows(rows).write(FIGURES)
    elif not page_only:
        Figures(_machine(count), _measured(REPORTS / "catalog", count, rounds)).write(FIGURES)
    write_page(PAGE, FIGURES)
    say(f"wrote {PAGE}")


def _measured_alone(folder: Path, count: int, rounds: int, milvus: str | None) -> list[Row]:
    """A catalog in Milvus, or else the opening of ten million products."""
    with _emptied(folder):
        if milvus is not None:
            return _engine_rows(folder, min(count, 200_000), 2 * rounds, milvus)
        pairs = Bench(folder, 10_000).opening_many(rounds, 10_000_000)
        return [Row.ratio("opening 10,000,000 products / 10,000", pairs, 2.0)]


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder)


def _engine_rows(folder: Path, count: int, rounds: int, milvus: str | None = None) -> list[Row]:
    engines = compared(folder, count, rounds, milvus)
    return [
        Row.ratio(f"category and price<500 of {count:,} / {name}", pairs, 1.0)
        for name, pairs in engines.items()
    ]


def _measured(folder: Path, count: int, rounds: int) -> list[Row]:
    with _emptied(folder):
        return _rows(folder, count, rounds)


def _rows(folder: Path, count: int, rounds: int) -> list[Row]:
    bench = Bench(folder, count)
    few, many = (index_memory_mib(folder, each) for each in (10_000, min(count, 200_000)))
    checked = "opened and ranked in all categories: with checks / without"
    return [
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
        *_engine_rows(folder, min(count, 200_000), rounds),
    ]


def _machine(count: int) -> dict[str, str]:
    software = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow"))
    return {
        "CPU": machine(),
        "products": f"{count:,} in 20 categories",
        "software": f"Python {platform.python_version()}, {software}",
    }


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
