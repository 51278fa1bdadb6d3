"""docs/results.md: measure, and write the tables between its hand-written text.

`make results` runs this. What an earlier run measured is used again. The figures themselves are
kept in docs/results/, so that the page can be checked, and made anew, without measuring.
"""

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from completelook.errors import CompleteLookError
from completelook.files import write_text

from completelook_build.attention import results as attention_results
from completelook_build.demo import run
from completelook_build.evaluation.table import as_markdown
from completelook_build.report import replace_blocks

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
    write_text(page, replace_blocks(page.read_text(encoding="utf-8"), blocks))


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
