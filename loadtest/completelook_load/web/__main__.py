"""`python -m completelook_load.web`: what the HTTP service adds to Triton, into docs/web.md."""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import psutil
import typer
from completelook import CompleteLook
from completelook.errors import CompleteLookError, exit_with
from completelook.files import write_text
from completelook.server import EmbeddedServer
from completelook_build.console import say
from completelook_build.report import markdown_table, replace_blocks

from completelook_load.inputs import PICTURES, REPORTS, find_pictures
from completelook_load.processes import core_s, machine, served_web
from completelook_load.web.asker import Asker
from completelook_load.web.measures import (
    Round,
    Triton,
    directly,
    large_photo,
    photos,
    steered,
    synthetic_catalog,
    through_service,
    upload_beside_inference,
)

_PAGE = Path("docs/web.md")
_IN_FLIGHT, _REQUESTS, _ROUNDS, _REPEATS = 16, 200, 3, 20
_FEW, _MANY = 1_424, 100_000


class Row(NamedTuple):
    """A figure, and what it may be at most."""

    text: str
    value: float
    unit: str = ""
    most: float | None = None

    def cells(self) -> list[str]:
        scale = {"%": 100, "ms": 1000}.get(self.unit, 1)
        wanted = "" if self.most is None else f"at most {self.most * scale:g} {self.unit}".strip()
        held = "" if self.most is None else "holds" if self.value <= self.most else "MISSED"
        value = self.value * scale
        found = f"{value:,.0f}" if value >= 100 or isinstance(self.value, int) else f"{value:.3g}"
        return [self.text, f"{found} {self.unit}".strip(), wanted, held]


def main(
    model_repository: Annotated[Path, typer.Option(metavar="DIR")] = Path("model_repository"),
    pictures: Annotated[Path, typer.Option(metavar="DIR", help="What is sent.")] = PICTURES,
    block: Annotated[str, typer.Option(help="The block of the page to fill.")] = "benchmark",
) -> None:
    """Measure everything and write it into a block of the page."""
    folder = REPORTS / "web"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = list(_measured(folder, model_repository, find_pictures(pictures)))
    shutil.rmtree(folder)
    table = markdown_table(("", "found", "wanted", ""), (row.cells() for row in rows))
    text = f"{machine()}, which load, service and Triton share.\n\n{table}"
    print(text)
    write_text(_PAGE, replace_blocks(_PAGE.read_text(encoding="utf-8"), {block: text}))
    say(f"wrote {_PAGE}")


def _measured(folder: Path, repository: Path, pictures: list[Path]) -> Iterator[Row]:
    with EmbeddedServer(repository, grpc_port=0, metrics_port=0) as server:
        address = server.grpc_address
        with CompleteLook(address) as look:
            model_id, names = look.embed_scene(pictures[0]).model_id, look.categories()
        few, many = (
            synthetic_catalog(folder / f"{count}.arrow", count, names, model_id)
            for count in (_FEW, _MANY)
        )
        sent = photos(pictures)
        triton = Triton(server)
        with served_web(few, address, folder / "scenes") as (place, service):
            asker = Asker(place)
            yield from _loaded(asker, service, triton, address, sent)
            yield from _uploaded(asker, address, sent, pictures)
            yield from _steered(asker, triton, sent, _FEW, 0.05)
        with served_web(many, address, folder / "scenes") as (place, _):
            yield from _steered(Asker(place), triton, sent, _MANY, 0.15)


def _loaded(
    asker: Asker, service: psutil.Process, triton: Triton, address: str, sent: Iterator[bytes]
) -> Iterator[Row]:
    """With 16 in flight, with 160, and with 16 again."""

    def through(count: int, in_flight: int) -> Round:
        return through_service(asker, triton, list(islice(sent, count)), in_flight)

    through(_REQUESTS // 2, _IN_FLIGHT)
    alone, rounds, cores_s = [], [], []
    for _ in range(_ROUNDS):
        alone.append(directly(address, triton, list(islice(sent, _REQUESTS)), _IN_FLIGHT))
        before_s = core_s(service)
        rounds.append(through(_REQUESTS, _IN_FLIGHT))
        cores_s.append((core_s(service) - before_s) / _REQUESTS)
    yield Row(
        "Triton's own time of a scene, 16 in flight", median(r.triton_s for r in rounds), "ms"
    )
    yield Row("the Python client takes beside it", median(r.added for r in alone), "%")
    yield Row("the service takes beside it", median(r.added for r in rounds), "%", 0.15)
    yield Row("of one core, the service takes for a request", median(cores_s), "ms")
    bad = sum(r.failed + r.refused for r in rounds)
    yield Row("of 600 requests, 16 in flight, failed or refused", bad, most=0)
    crowd = through(10 * _REQUESTS, 10 * _IN_FLIGHT)
    yield Row("of 2,000, 160 in flight, told to try again (429, 503)", crowd.refused)
    yield Row(
        "of these failed, or told so without Retry-After", crowd.failed + crowd.untold, most=0
    )
    after = through(_REQUESTS, _IN_FLIGHT)
    yield Row(
        "of 200 right after, 16 in flight, failed or refused", after.failed + after.refused, most=0
    )
    calm = median(r.mean_s for r in rounds)
    yield Row("a request's mean time, after / before", after.mean_s / calm)


def _uploaded(
    asker: Asker, address: str, sent: Iterator[bytes], pictures: list[Path]
) -> Iterator[Row]:
    """One after another: a photo to all of its ranking, and what of that is no inference."""
    large = (large_photo(picture) for picture in pictures[:_REPEATS])
    for name, batch in (("", islice(sent, _REPEATS)), (" of 12 megapixels", large)):
        pairs = list(upload_beside_inference(asker, address, list(batch)))
        beside = median(whole - inference for whole, inference in pairs)
        yield Row(f"a photo{name} to results, beside the inference", beside, "ms", 0.15)


def _steered(
    asker: Asker, triton: Triton, sent: Iterator[bytes], count: int, most_s: float
) -> Iterator[Row]:
    """A known scene ranked anew, each time without another part of it."""
    token = asker.token_of(next(sent))
    before, _ = triton.requests()
    seconds = steered(asker, token, _REPEATS)
    after, _ = triton.requests()
    yield Row(f"steered, ranked anew among {count:,} products", median(seconds), "ms", most_s)
    yield Row(f"requests to Triton for these {_REPEATS}", after - before, most=0)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
