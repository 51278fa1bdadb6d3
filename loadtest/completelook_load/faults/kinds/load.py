"""Load: far too much of it, for a long time, and while another model takes the place."""

import asyncio
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from statistics import median

import numpy as np
import psutil
import pyarrow as pa
from completelook import AsyncCompleteLook, Catalog, CompleteLook
from completelook.catalog import write_catalog
from completelook.errors import CompleteLookError
from completelook.server import EmbeddedServer
from numpy.typing import NDArray

from completelook_load.faults.clients import Clients
from completelook_load.faults.proxy import Proxy
from completelook_load.faults.serve import Serve
from completelook_load.faults.stand import CATEGORIES, Stand, Truth
from completelook_load.faults.tally import Tally, until

_TIMES_THE_KNEE = 10
_WARM_S = 3.0
_TIMEOUT_S, _GRACE_S = 10.0, 5.0
_SAMPLE_S = 5.0
_IN_FLIGHT = 16
_BETWEEN_S = 0.5  # roll-outs
_TOLERANCE = 1e-4
_MOST_DRIFT = 0.05
_START_S = 120.0


def overload(stand: Stand, tally: Tally, times: int) -> None:
    """For a second, ten times what the server answers: all is answered or told, none is wrong."""
    with EmbeddedServer(stand.repository(), grpc_port=0, metrics_port=0) as server:
        with CompleteLook(server.grpc_address) as look:
            truth = Truth.of(look, stand.pictures)
        asyncio.run(_overload(server.grpc_address, stand, truth, tally, times))


async def _overload(address: str, stand: Stand, truth: Truth, tally: Tally, times: int) -> None:
    async with AsyncCompleteLook(address, timeout_s=_TIMEOUT_S) as look:

        async def ask(number: int, delay_s: float = 0.0) -> None:
            await asyncio.sleep(delay_s)
            place = number % len(stand.pictures)
            outcome: object
            try:
                async with asyncio.timeout(_TIMEOUT_S + _GRACE_S):
                    outcome = await look.embed_scene(stand.pictures[place])
            except TimeoutError:
                tally.note("hung", "no end in time")
                return
            except Exception as error:
                outcome = error
            tally.end(outcome, lambda answer: truth.has(answer, place))

        knee = await _knee(ask)
        count = int(_TIMES_THE_KNEE * knee)
        tally.notes.append(f"{count} requests each time; the knee is {knee:.0f} a second")
        for _ in range(times):
            tally.injected += 1
            await asyncio.gather(*(ask(number, number / count) for number in range(count)))
            over_s, answered = time.monotonic(), tally.answered
            while tally.answered == answered:
                await ask(0)
            tally.recovered(over_s)


async def _knee(ask: Callable[[int], Awaitable[None]]) -> float:
    """What is answered in a second with a few in flight."""
    answered, end_s = 0, time.monotonic() + _WARM_S

    async def ask_on(first: int) -> None:
        nonlocal answered
        for number in itertools.count(first):
            if time.monotonic() > end_s:
                return
            await ask(number)
            answered += 1

    await asyncio.gather(*(ask_on(first) for first in range(_IN_FLIGHT)))
    return answered / _WARM_S


def roll_out(stand: Stand, tally: Tally, times: int) -> None:
    """Behind one address another model answers: no vectors of two are put together."""
    servers = [
        EmbeddedServer(stand.repository(seed), grpc_port=0, metrics_port=0) for seed in (0, 1)
    ]
    with servers[0], servers[1], Proxy(servers[0].grpc_address) as proxy:
        truths = []
        for server in servers:
            with CompleteLook(server.grpc_address) as look:
                truths.append(Truth.of(look, stand.pictures))
        with (
            CompleteLook(proxy.address, timeout_s=_TIMEOUT_S) as look,
            _asking(look, stand, tally, truths),
        ):
            for number in range(1, times + 1):
                time.sleep(_BETWEEN_S)
                proxy.target = servers[number % 2].grpc_address
                proxy.reset()
                tally.injected += 1
                _see(truths[number % 2].model_id, look, stand, tally)


@contextmanager
def _asking(look: CompleteLook, stand: Stand, tally: Tally, truths: list[Truth]) -> Iterator[None]:
    """Have products embedded, and a catalog of the first model ranked, while the block lasts."""
    catalog, stop = _catalog(stand, truths[0]), threading.Event()
    rankings = {number: _ranking(look, stand, catalog, number) for number in range(4)}
    askers = [
        threading.Thread(target=_embed, args=(look, stand, tally, stop, truths), daemon=True),
        threading.Thread(
            target=_rank, args=(look, stand, tally, stop, catalog, rankings), daemon=True
        ),
    ]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        stop.set()
        for asker in askers:
            asker.join()


def _see(model_id: int, look: CompleteLook, stand: Stand, tally: Tally) -> None:
    """Wait until a model answers."""
    switched_s = time.monotonic()
    if until(lambda: _model(look, stand) == model_id, _START_S):
        tally.recovered(switched_s)
    else:
        tally.note("hung", "the other model does not answer")


def _model(look: CompleteLook, stand: Stand) -> int | None:
    try:
        return look.embed_product(stand.pictures[0]).model_id
    except CompleteLookError:
        return None


def _embed(
    look: CompleteLook, stand: Stand, tally: Tally, stop: threading.Event, truths: list[Truth]
) -> None:
    """Ask for several products at once, which must be of one model."""

    def are_of_one(vectors: NDArray[np.float32]) -> bool:
        return any(np.abs(vectors - truth.products).max() < _TOLERANCE for truth in truths)

    while not stop.is_set():
        tally.ask(lambda: look.embed_products(stand.pictures), are_of_one, _TIMEOUT_S + _GRACE_S)


def _rank(
    look: CompleteLook,
    stand: Stand,
    tally: Tally,
    stop: threading.Event,
    catalog: Catalog,
    rankings: dict[int, list[str]],
) -> None:
    """Rank a catalog of the first model: as it does, or a mismatch."""
    for number in itertools.cycle(rankings):
        if stop.is_set():
            return
        tally.ask(
            lambda number=number: _ranking(look, stand, catalog, number),  # type: ignore[misc]
            lambda found, number=number: found == rankings[number],  # type: ignore[misc]
            _TIMEOUT_S + _GRACE_S,
        )


def _ranking(look: CompleteLook, stand: Stand, catalog: Catalog, number: int) -> list[str]:
    ranked = look.rank_scene(stand.pictures[number], catalog, top=3)
    return [match.id for matches in ranked.values() for match in matches]


def _catalog(stand: Stand, truth: Truth) -> Catalog:
    path = stand.folder / "rolled.arrow"
    numbers = range(len(truth.products))
    products = pa.table(
        {
            "id": [f"p{number}" for number in numbers],
            "category": [CATEGORIES[number % len(CATEGORIES)] for number in numbers],
            "image": [f"{number}.png" for number in numbers],
        }
    )
    categories, vectors = CATEGORIES, truth.products
    write_catalog(path, products, vectors, model_id=truth.model_id, categories=categories)
    return Catalog.open(path)


def soak(stand: Stand, tally: Tally, times: int) -> None:
    """Some minutes of load: memory and descriptors stay as they were after the first quarter."""
    with Serve(stand.repository()) as serve:
        serve.says("ready:", 0, _START_S)
        with CompleteLook(serve.address) as look:
            truth = Truth.of(look, stand.pictures)
        catalog = _catalog(stand, truth)
        samples: list[dict[str, float]] = []
        with Clients(serve.address, stand, truth, tally), CompleteLook(serve.address) as look:
            end_s = time.monotonic() + 60 * times
            while time.monotonic() < end_s:
                tally.ask(
                    lambda: _ranking(look, stand, catalog, 0),
                    lambda found: len(found) > 0,
                    _START_S,
                )
                samples.append(_sample(serve))
                time.sleep(_SAMPLE_S)
        tally.injected = times
        _judge(samples, tally)
    serve.note_what_is_left(tally)


def _sample(serve: Serve) -> dict[str, float]:
    server = [serve.server(), *serve.stubs()]
    own = psutil.Process()
    return {
        "memory of the server": sum(each.memory_info().rss for each in server),
        "memory of the client": own.memory_info().rss,
        "descriptors of the server": sum(each.num_fds() for each in server),
        "descriptors of the client": own.num_fds(),
        "bytes in /dev/shm": sum(path.stat().st_size for path in serve.regions),
    }


def _judge(samples: list[dict[str, float]], tally: Tally) -> None:
    """Compare the last quarter with the second."""
    quarter = len(samples) // 4
    for name in samples[0]:
        before = median(each[name] for each in samples[quarter : 2 * quarter])
        after = median(each[name] for each in samples[-quarter:])
        drift = after / before - 1
        tally.notes.append(f"{name} {drift:+.1%}")
        bound = _MOST_DRIFT if name.startswith("memory") else 0.0
        tally.note("left", f"{name} went from {before:g} to {after:g}", int(drift > bound))
