"""`make bench-page`: the page of `completelook web` in Chromium, its figures into docs/web.md."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from completelook import Catalog
from completelook.errors import CompleteLookError, exit_with
from completelook.files import write_text
from completelook.server import EmbeddedServer
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
from completelook_load.processes import machine, served_web

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
        TemporaryDirectory() as shared,
        served_web(catalog, server.grpc_address, Path(shared)) as (place, _),
        chromium(found) as browser,
    ):
        url = f"http://{place}"
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
    size = f"{len(Catalog.open(catalog)):,} products"
    told = f"{machine()}; {size}; inference {inference_s * 1e3:.0f} ms."
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


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
