"""Processes of the server that are killed: a model's, tritonserver, `serve` itself."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import psutil
from completelook import CompleteLook
from completelook.errors import EmbeddedServerError

from completelook_load.faults.clients import Clients
from completelook_load.faults.serve import Serve
from completelook_load.faults.stand import Stand, Truth
from completelook_load.faults.tally import Tally

# Longer than `serve` takes a server that was ready for steady, so that it starts anew at once.
_STEADY_S = 3.5
_COLD_STARTS = 5
_START_S = 120.0
_BURIED = "starting it anew"


def kill_stub(stand: Stand, tally: Tally, times: int) -> None:
    """A model's process dies under a server that has run for a while."""
    _kill_below(stand, tally, times, lambda serve: random.choice(serve.stubs()), cold_starts=True)


def kill_stub_at_once(stand: Stand, tally: Tally, times: int) -> None:
    """A model's process dies as soon as there was an answer, again and again."""
    _kill_below(stand, tally, times, lambda serve: random.choice(serve.stubs()), steady_s=0.0)
    tally.notes.append("between starts in a row serve pauses, for up to 10 s")


def kill_server(stand: Stand, tally: Tally, times: int) -> None:
    """Tritonserver dies."""
    _kill_below(stand, tally, times, Serve.server)


def kill_serve(stand: Stand, tally: Tally, times: int) -> None:
    """`serve` dies, and with it all below it; then it is started anew, as systemd does."""
    with _attended(stand, tally) as (serve, clients):
        for _ in range(times):
            time.sleep(_STEADY_S / 2)
            killed_s = time.monotonic()
            serve.kill()
            tally.injected += 1
            serve.note_what_is_left(tally)
            serve.start()
            clients.see_recovery(time.monotonic(), killed_s)


def _kill_below(
    stand: Stand,
    tally: Tally,
    times: int,
    victim: Callable[[Serve], psutil.Process],
    *,
    steady_s: float = _STEADY_S,
    cold_starts: bool = False,
) -> None:
    cold_s: list[float] = []
    with _attended(stand, tally) as (serve, clients):
        for number in range(times):
            if cold_starts and number % max(1, times // _COLD_STARTS) == 0:
                serve.stop()
                began_s = time.monotonic()
                serve.start()
                clients.are_answered(began_s)
                cold_s.append(time.monotonic() - began_s)
            time.sleep(steady_s)
            said, killed_s = len(serve.lines), time.monotonic()
            victim(serve).kill()
            tally.injected += 1
            if not serve.says(_BURIED, said):
                tally.note("hung", "the death was not noticed")
            clients.see_recovery(time.monotonic(), killed_s)
        tally.note("lost", "serve has ended", int(not serve.runs))
    if cold_s:
        start_s = median(cold_s)
        tally.notes.append(
            f"{median(tally.recovery_s) / start_s:.2f} x a cold start, which took {start_s:.1f} s "
            "in the same run; wanted at most 1.3"
        )


@contextmanager
def _attended(stand: Stand, tally: Tally) -> Iterator[tuple[Serve, Clients]]:
    """`serve`, and clients that ask it and know the right answers."""
    with Serve(stand.repository()) as serve:
        if not serve.says("ready:", 0, _START_S):
            raise EmbeddedServerError(f"serve did not start: {serve.lines}")
        with CompleteLook(serve.address) as look:
            truth = Truth.of(look, stand.pictures)
        with Clients(serve.address, stand, truth, tally) as clients:
            yield serve, clients
    serve.note_what_is_left(tally)
