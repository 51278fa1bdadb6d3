"""docs/results.md: measure, and write the tables between its hand-written text.

`make results` runs this. What an earlier run measured is used again. The figures themselves are
kept in docs/results/, so that the page can be checked, and made anew, without measuring.
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from completelook.errors import CompleteLookError
from completelook.files import write_text

from completelook_build.attention import results as attention_results
from completelook_build.demo import run
from completelook_build.errors import DataError
from completelook_build.evaluation.table import as_markdown

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
    showroom = _data(SHOWROOM / "pairs.jsonl", SHOWROOM / "categories.json", SHOWROOM / "images")
    measure("showroom", showroom)
    measure_attention(showroom)
    if photos is not None:
        measure("ikea", _data(photos / "ikea.json", photos / "ikea-cat.json", photos / "images"))
    write_page(PAGE, FIGURES)
    print(f"\nwrote {PAGE}")


def _data(pairs: Path, categories: Path, images: Path) -> str:
    """The options that name a data set, and the cache that all of them share."""
    options = {"pairs": pairs, "categories": categories, "images": images}
    named = [f"--{name} {shlex.quote(str(path))}" for name, path in options.items()]
    return " ".join([*named, f"--features {WORK}/features"])


def measure(name: str, data: str) -> None:
    """Make the table of one data set with the random backbone, and keep its figures."""
    table = WORK / f"{name}-table"
    run(f"completelook-build compare {data} --backbone random:0 --out {table}")
    FIGURES.mkdir(exist_ok=True)
    shutil.copyfile(table / "table.json", FIGURES / f"{name}.json")


def measure_attention(data: str) -> None:
    """Study where every form of the model looks in the showroom, and keep the figures."""
    forms = attention_results.measure(data, WORK / "showroom-attention", run)
    write_text(FIGURES / "attention.json", json.dumps(forms, indent=1) + "\n")


def write_page(page: Path, figures: Path) -> None:
    """Fill the page's blocks with the figures of a folder; the text around them stays.

    Raises DataError where the page lacks a block.
    """
    renderers: dict[str, Callable[[Any], str]] = {
        "showroom": as_markdown,
        "attention": attention_results.as_markdown,
        "ikea": as_markdown,
    }
    blocks = {name: _block(figures / f"{name}.json", each) for name, each in renderers.items()}
    write_text(page, fill(page.read_text(encoding="utf-8"), blocks))


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


def _block(figures: Path, render: Callable[[Any], str]) -> str:
    """Figures as Markdown, or that there are none."""
    if not figures.exists():
        return _NOT_MEASURED
    return render(json.loads(figures.read_text(encoding="utf-8")))


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:2]))
    except CompleteLookError as error:
        sys.exit(f"error: {error}")
