"""docs/results.md: measure, and write the tables between its hand-written text.

`make results` runs this. What an earlier run measured is used again. The figures themselves are
kept in docs/results/, so that the page can be checked, and made anew, without measuring.
"""

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from completelook._errors import CompleteLookError

from completelook_build.demo import run
from completelook_build.errors import DataError
from completelook_build.table import as_markdown

PAGE = Path("docs/results.md")
FIGURES = Path("docs/results")
WORK = Path("results")
SHOWROOM = WORK / "showroom"
_SCENES = 500
_NOT_MEASURED = "Not measured.\n"


def main(photos: Path | None = None) -> None:
    """Measure on the showroom and, where their folder is given, on real rooms; write the page."""
    if not SHOWROOM.exists():
        run(f"completelook-build showroom {SHOWROOM} --scenes {_SCENES}")
    measure("showroom", SHOWROOM / "pairs.jsonl", SHOWROOM / "categories.json", SHOWROOM / "images")
    if photos is not None:
        measure("ikea", photos / "ikea.json", photos / "ikea-cat.json", photos / "images")
    write_page(PAGE, FIGURES)
    print(f"\nwrote {PAGE}")


def measure(name: str, pairs: Path, categories: Path, images: Path) -> None:
    """Make the table of one data set with the random backbone, and keep its figures."""
    table = WORK / f"{name}-table"
    run(
        f"completelook-build compare --pairs {pairs} --categories {categories} --images {images} "
        f"--features {WORK}/features --backbone random:0 --out {table}"
    )
    FIGURES.mkdir(exist_ok=True)
    shutil.copyfile(table / "table.json", FIGURES / f"{name}.json")


def write_page(page: Path, figures: Path) -> None:
    """Fill the page's blocks with the figures of a folder; the text around them stays.

    Raises DataError where the page lacks a block.
    """
    blocks = {name: _table_of(figures / f"{name}.json") for name in ("showroom", "ikea")}
    blocks["attention"] = _text_of(figures / "attention.md")
    filled = fill(page.read_text(encoding="utf-8"), blocks)
    beside = page.with_name(page.name + ".partial")
    beside.write_text(filled, encoding="utf-8")
    beside.replace(page)


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """Put each block between its own `<!-- begin NAME -->` and `<!-- end NAME -->` lines.

    Raises DataError where the text has no such pair of lines.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
        if not pattern.search(text):
            raise DataError(f"the page has no lines {begin.strip()!r} and {end!r}; put them back")
        text = pattern.sub(lambda found, block=block: f"{found[1]}{block}{found[2]}", text)  # type: ignore[misc]
    return text


def _table_of(figures: Path) -> str:
    """A data set's table as Markdown."""
    if not figures.exists():
        return _NOT_MEASURED
    return as_markdown(json.loads(figures.read_text(encoding="utf-8")))


def _text_of(figures: Path) -> str:
    """What another study wrote as Markdown."""
    return figures.read_text(encoding="utf-8") if figures.exists() else _NOT_MEASURED


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:2]))
    except CompleteLookError as error:
        sys.exit(f"error: {error}")
