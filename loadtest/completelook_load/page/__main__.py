"""`make bench-page`: the page of `completelook web` in Chromium, its figures into docs/web.md."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from completelook import Catalog
from completelook.errors import CompleteLookError, exit_with
from completelook.files import write_text
from completelook.server import EmbeddedServer, bound_to_this_process
from completelook_build.console import say
from completelook_build.errors import DataError
from completelook_build.report import markdown_table, replace_blocks

from completelook_load.inputs import CATALOG, PICTURES
from completelook_load.page.browser import (
    beside_inference,
    chromium,
    large_photo,
    painted_s,
    steered_s,
    weight_bytes,
)

PAGE = Path("docs/web.md")
ROUNDS = 20
_WARM_UP = 3


def main(
    catalog: Annotated[Path, typer.Option(help="Made by the model of the repository.")] = CATALOG,
    pictures: Annotated[Path, typer.Option(help="A folder with photos of scenes.")] = PICTURES,
    repository: Annotated[Path, typer.Option(help="What Triton serves.")] = Path(
        "model_repository"
    ),
) -> None:
    """Measure and write the page."""
    found = shutil.which("chromium")
    if found is None:
        raise DataError("there is no chromium: apt-get install chromium")
    scenes = sorted(pictures.glob("scene-*.jpg"))[: ROUNDS + _WARM_UP]
    if len(scenes) < ROUNDS + _WARM_UP:
        raise DataError(f"{pictures}: expected {ROUNDS + _WARM_UP} photos named scene-*.jpg")
    with (
        EmbeddedServer(repository, grpc_port=0, metrics_port=0) as server,
        _served(catalog, server.grpc_address) as url,
        chromium(found) as browser,
    ):
        photos = [each.read_bytes() for each in scenes]
        pairs, link = beside_inference(browser, url, server.grpc_address, photos)
        large = [large_photo(each, 1) for each in scenes]
        large_pairs, _ = beside_inference(browser, url, server.grpc_address, large)
        rows = [
            _row("first paint, caches empty", painted_s(browser, url, ROUNDS), 1.0),
            _row("first paint of a link's answer", painted_s(browser, link, ROUNDS), 1.0),
            _row("photo to products, beside inference", _added(pairs), 0.15),
            _row("the same, 12 megapixels", _added(large_pairs), 0.15),
            _row("area left out to new order", steered_s(browser, link, ROUNDS), None),
            _weight("weight of the page, no photo", weight_bytes(browser, url)),
            _weight("weight of an answer, pictures apart", weight_bytes(browser, link)),
        ]
    inference_s = median(inference for _, inference in pairs[_WARM_UP:])
    machine = f"{len(os.sched_getaffinity(0))} cores of {_processor()}"
    told = (
        f"{machine}; {len(Catalog.open(catalog)):,} products; inference {inference_s * 1e3:.0f} ms."
    )
    table = markdown_table(("", f"median of {ROUNDS} (range)", "wanted", ""), rows)
    page = PAGE.read_text(encoding="utf-8")
    write_text(PAGE, replace_blocks(page, {"page": f"{told}\n\n{table}"}))
    say(table)


def _added(pairs: Sequence[tuple[float, float]]) -> list[float]:
    return [shown - inference for shown, inference in pairs[_WARM_UP:]]


def _row(text: str, seconds: Sequence[float], most_s: float | None) -> list[str]:
    value = median(seconds)
    found = f"{value * 1e3:.0f} ms ({min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f})"
    if most_s is None:
        return [text, found, "", ""]
    return [text, found, f"at most {most_s * 1e3:g} ms", "holds" if value <= most_s else "MISSED"]


def _weight(text: str, weight: int) -> list[str]:
    return [text, f"{weight / 1e3:.0f} KB", "below 300 KB", "holds" if weight < 3e5 else "MISSED"]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


@contextmanager
def _served(catalog: Path, server: str) -> Iterator[str]:
    """`completelook web` in a process of its own, on a free port; its URL."""
    program = [sys.executable, "-c", "from completelook.cli import main; main()"]
    with TemporaryDirectory() as scenes:
        options = ["--catalog", str(catalog), "--server", server, "--scenes", scenes]
        command = bound_to_this_process([*program, "web", "--port", "0", *options])
        with Popen(command, stderr=PIPE, text=True) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            try:
                if not line.startswith("ready at "):
                    raise DataError(f"completelook web: {line.strip() or 'ended at once'}")
                yield line.removeprefix("ready at ").strip()
            finally:
                process.terminate()


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
