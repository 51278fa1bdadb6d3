"""The models behind servers: our Triton repository, LitServe and FastAPI, asked by many at once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Lock

import numpy as np
from completelook import CompleteLook, index
from completelook.catalog import ledger_path
from completelook.errors import ServerError
from completelook.server import TUNING, EmbeddedServer

from completelook_load.bench import contenders as named
from completelook_load.bench.app_server import (
    AppServer,
    AsRequest,
    Image,
    as_bytes,
    as_json,
    contexts_of,
)
from completelook_load.bench.contenders import Contenders
from completelook_load.bench.sample import Sample, bursts, closed_loop, spent_s

IN_FLIGHT = (1, 4, 16, 64)
BURST = 16
_PRODUCTS_IN_FLIGHT = 16
# BF16 answers differ a little with the batch that they were part of.
_SAME = 0.02

Ask = Callable[[Image], object]


@dataclass(frozen=True)
class Server:
    """What asks a server for a scene, and the blocks in which it runs if it does not always."""

    ask: Ask
    running: Callable[[], AbstractContextManager[object]] = nullcontext


class Turns:
    """Asks with one picture after the other, whichever user's turn it is."""

    def __init__(self, ask: Ask, images: Sequence[Image]) -> None:
        self._ask, self._images, self._lock = ask, cycle(images), Lock()

    def __call__(self) -> object:
        with self._lock:
            image = next(self._images)
        return self._ask(image)


def start_triton(stack: ExitStack, repository: Path) -> CompleteLook:
    """Start Triton; a client of it. Raises ServerError where it does not start."""
    triton = EmbeddedServer(repository, grpc_port=0, metrics_port=0)
    address = stack.enter_context(triton).grpc_address
    return stack.enter_context(CompleteLook(address, timeout_s=60))


def start_apps(
    stack: ExitStack, repository: Path, look: CompleteLook, image: Image
) -> dict[str, Server]:
    """Start the other servers of what Triton serves to a client, by name.

    Raises ServerError where one does not start, or answers something else than Triton.
    """
    servers = {}
    apps: dict[str, tuple[str, AsRequest, Mapping[str, str]]] = {
        named.LITSERVE: ("litserve", as_json, {}),
        named.LITSERVE_TUNED: ("litserve", as_json, TUNING),
        named.FASTAPI: ("fastapi", as_bytes, {}),
    }
    for name, (kind, as_request, environment) in apps.items():
        app = AppServer(kind, repository, as_request, environment)
        servers[name] = Server(stack.enter_context(app).ask, app.running)
        with app.running():
            _check_same(look, app.ask, name, image)
    return servers


def _check_same(look: CompleteLook, ask: Ask, name: str, image: Image) -> None:
    answer = ask(image)
    assert isinstance(answer, dict)
    difference = np.abs(contexts_of(answer) - look.embed_scene(image).contexts).max()
    if not difference <= _SAME:
        raise ServerError(f"{name} and Triton differ by {difference:.3f} on the same picture")


def served_contenders(
    servers: dict[str, Server], images: Sequence[Image], duration_s: float
) -> Contenders:
    """Every server with every number of requests in flight, and with bursts of them."""
    contenders = {}
    for name, server in servers.items():
        ask = Turns(server.ask, images)
        for in_flight in IN_FLIGHT:
            call = partial(closed_loop, ask, in_flight, duration_s)
            contenders[named.in_flight(name, in_flight)] = partial(_while_running, server, call)
        call = partial(bursts, ask, BURST, duration_s)
        contenders[named.in_bursts(name, BURST)] = partial(_while_running, server, call)
    return contenders


def _while_running(server: Server, measure: Callable[[], Sample]) -> Sample:
    with server.running():
        return measure()


def product_contenders(
    look: CompleteLook, images: Sequence[Image], products: Path, out: Path, duration_s: float
) -> Contenders:
    """Products asked for by a closed loop, and indexed from their files."""
    ask = Turns(look.embed_product, images)
    return {
        named.in_flight(named.PRODUCTS_SERVED, _PRODUCTS_IN_FLIGHT): partial(
            closed_loop, ask, _PRODUCTS_IN_FLIGHT, duration_s
        ),
        named.INDEX: partial(_index, look, products, out),
    }


def _index(look: CompleteLook, products: Path, out: Path) -> Sample:
    """Index a table of products; what a single one of them took is not known."""
    # What an earlier round has embedded would not be embedded again.
    ledger_path(out).unlink(missing_ok=True)
    with spent_s() as spent:
        report = index(products, out, look, on_error="fail")
    by_part = {part: each_s / report.indexed for part, each_s in spent.items()}
    return Sample(report.images_per_s, spent_s=by_part)
