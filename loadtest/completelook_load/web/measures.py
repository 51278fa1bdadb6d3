"""What is measured: the service beside Triton's own time, under load, beyond it, and steered."""

import asyncio
import io
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow as pa
from completelook import AsyncCompleteLook, CompleteLook, load_image, open_image
from completelook.catalog import write_catalog
from completelook.errors import ServerError
from completelook.server import EmbeddedServer
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc import InferenceServerClient

from completelook_load.web.asker import Asker, form

MODEL = "explain_scene"
_TIMEOUT_S = 30.0
_JSON = "application/json"


def photos(pictures: Sequence[Path]) -> Iterator[bytes]:
    """Photos that are all different: JPEGs of the pictures, each time another part of them."""
    for cut in count(1):
        for path in pictures:
            picture = open_image(path)
            part = picture.crop((cut, 0, picture.width, picture.height - cut))
            buffer = io.BytesIO()
            part.save(buffer, "JPEG", quality=90)
            yield buffer.getvalue()


def large_photo(picture: Path) -> bytes:
    """A photo as phones take them, of 12 megapixels."""
    buffer = io.BytesIO()
    open_image(picture).resize((4000, 3000), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=90
    )
    return buffer.getvalue()


def synthetic_catalog(path: Path, size: int, categories: tuple[str, ...], model_id: int) -> Path:
    """Products of random directions, evenly in the model's categories, with a title and a price."""
    numbers = np.arange(size)
    products = pa.table(
        {
            "id": [f"sku-{number:08d}" for number in numbers],
            "image": [f"https://shop.example/{number}.jpg" for number in numbers],
            "category": [categories[number % len(categories)] for number in numbers],
            "title": [f"Product {number} of the shop" for number in numbers],
            "price": np.round(numbers * 7919 % 100_000 / 100, 2),
        }
    )
    vectors: NDArray[np.float32] = np.random.default_rng(0).standard_normal((size, 128), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_catalog(path, products, vectors, model_id=model_id, categories=categories)
    return path


class Triton:
    """What Triton says of its own time."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._headers = server.headers
        self._client = InferenceServerClient(server.grpc_address)

    def requests(self) -> tuple[int, float]:
        """How many scenes it has embedded, and the seconds of all, each with its time in queues."""
        answer = self._client.get_inference_statistics(
            MODEL, headers=self._headers, client_timeout=_TIMEOUT_S
        )
        success = answer.model_stats[0].inference_stats.success
        return int(success.count), success.ns / 1e9


@dataclass(frozen=True)
class Round:
    """Requests that were in flight together."""

    seconds: float  # until the last was answered
    mean_s: float  # of one
    triton_s: float  # of one, in Triton
    failed: int = 0  # neither answered nor told to try again
    refused: int = 0  # told to try again
    untold: int = 0  # refused without being told when to try again

    @property
    def added(self) -> float:
        """What a request takes beside Triton's own time, as a share of that."""
        return self.mean_s / self.triton_s - 1


def through_service(asker: Asker, triton: Triton, batch: Sequence[bytes], in_flight: int) -> Round:
    """Photos ranked by the service."""
    before = triton.requests()
    answers, seconds = asker.ask_all(
        "/v1/rank", [form(photo) for photo in batch], in_flight=in_flight
    )
    scenes, spent_s = (b - a for a, b in zip(before, triton.requests(), strict=True))
    good = [answer.seconds for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status in (429, 503)]
    return Round(
        seconds=seconds,
        mean_s=fmean(good),
        triton_s=spent_s / max(scenes, 1),
        failed=len(answers) - len(good) - len(refused),
        refused=len(refused),
        untold=sum("retry-after" not in answer.headers for answer in refused),
    )


def directly(server: str, triton: Triton, batch: Sequence[bytes], in_flight: int) -> Round:
    """The same photos decoded and embedded by the client alone."""
    seconds: list[float] = []

    async def work(look: AsyncCompleteLook, waiting: Iterator[bytes]) -> None:
        for photo in waiting:
            begun_s = time.perf_counter()
            await look.embed_scene(photo, regions=True)
            seconds.append(time.perf_counter() - begun_s)

    async def run() -> float:
        async with AsyncCompleteLook(server) as look:
            await look.embed_scene(batch[0])
            begun_s = time.perf_counter()
            waiting = iter(batch)
            await asyncio.gather(*(work(look, waiting) for _ in range(in_flight)))
            return time.perf_counter() - begun_s

    before = triton.requests()
    whole_s = asyncio.run(run())
    scenes, spent_s = (b - a for a, b in zip(before, triton.requests(), strict=True))
    return Round(whole_s, fmean(seconds), spent_s / scenes)


def upload_beside_inference(
    asker: Asker, server: str, batch: Sequence[bytes]
) -> Iterator[tuple[float, float]]:
    """Seconds from sending a photo to all of its ranking, and of its inference alone, in turn."""
    with CompleteLook(server) as look:
        for photo in batch:
            tensor = load_image(photo)
            begun_s = time.perf_counter()
            look.embed_scene(tensor, regions=True)
            inference_s = time.perf_counter() - begun_s
            (answer,) = asker.ask("/v1/rank", [form(photo)])
            yield answer.seconds, inference_s


def steered(asker: Asker, token: str, times: int) -> list[float]:
    """Seconds of rankings of a scene that is known, each time with another part left out."""
    bodies = []
    for number in range(times):
        left = number / (2 * times)
        question = {"scene": token, "ignore": [[left, 0.2, left + 0.4, 0.7]]}
        bodies.append((_JSON, json.dumps(question).encode()))
    answers = asker.ask("/v1/rank", bodies)
    if bad := [answer for answer in answers if answer.status != 200]:
        raise ServerError(f"a ranking ended with {bad[0].status}: {bad[0].body.decode()}")
    return [answer.seconds for answer in answers]
