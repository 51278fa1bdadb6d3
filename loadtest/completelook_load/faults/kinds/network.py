"""A network that is slow, broken, or swallows what is sent."""

import time
from collections.abc import Callable

from completelook import CompleteLook
from completelook.server import EmbeddedServer

from completelook_load.faults.clients import Clients
from completelook_load.faults.proxy import FINE, Proxy, Weather
from completelook_load.faults.stand import Stand, Truth
from completelook_load.faults.tally import Tally

_SLOW = Weather(latency_s=0.1)
_SILENT = Weather(is_silent=True)
_DRIP = Weather(latency_s=0.01, piece_bytes=100)


def slow(stand: Stand, tally: Tally, times: int) -> None:
    """Each piece is late."""
    _through(stand, tally, times, lambda proxy: _turn(proxy, _SLOW), lasts_s=2.0)


def reset(stand: Stand, tally: Tally, times: int) -> None:
    """What is open is broken, and new connections are fine."""
    _through(stand, tally, times, Proxy.reset, lasts_s=0.0)


def half_open(stand: Stand, tally: Tally, times: int) -> None:
    """What is open is silent for ever, and new connections are fine."""
    _through(stand, tally, times, lambda proxy: _turn(proxy, _SILENT), lasts_s=1.0)


def black_hole(stand: Stand, tally: Tally, times: int) -> None:
    """What is open is broken, and new connections are silent for a while."""

    def swallow(proxy: Proxy) -> None:
        proxy.weather = _SILENT
        proxy.reset()

    _through(stand, tally, times, swallow, lasts_s=5.0)


def drip(stand: Stand, tally: Tally, times: int) -> None:
    """A picture takes longer than a client waits."""
    _through(stand, tally, times, lambda proxy: _turn(proxy, _DRIP), lasts_s=4.0, timeout_s=3.0)


def _turn(proxy: Proxy, weather: Weather) -> None:
    proxy.weather = weather


def _through(
    stand: Stand,
    tally: Tally,
    times: int,
    harm: Callable[[Proxy], None],
    *,
    lasts_s: float,
    timeout_s: float = 10.0,
) -> None:
    """Harm what lies between some clients and a server; recovery counts from the harm's end."""
    with (
        EmbeddedServer(stand.repository(), grpc_port=0, metrics_port=0) as server,
        Proxy(server.grpc_address) as proxy,
    ):
        with CompleteLook(server.grpc_address) as look:
            truth = Truth.of(look, stand.pictures)
        with Clients(proxy.address, stand, truth, tally, timeout_s=timeout_s) as clients:
            clients.are_answered(time.monotonic())
            for _ in range(times):
                harm(proxy)
                tally.injected += 1
                time.sleep(lasts_s)
                proxy.weather = FINE
                fine_s = time.monotonic()
                clients.see_recovery(fine_s, fine_s)
