"""When requests are sent: at a rate (open loop), or once one of so many is answered (closed)."""

import time
from collections.abc import Callable, Iterable

import gevent
import numpy as np
from gevent.pool import Group
from numpy.typing import NDArray


def arrival_times(
    rate: float, duration_s: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Moments in [0, duration_s), ascending [N]: a Poisson process at a constant rate.

    N is not left to chance, so that a stage offers exactly its rate: given their number, the
    arrivals of a Poisson process are independent and uniform.
    """
    count = max(1, round(rate * duration_s))
    return np.sort(random.uniform(0, duration_s, count))


def send_on_time(
    offsets_s: Iterable[float], started_s: float, ask: Callable[[float], object], in_flight: Group
) -> None:
    """Ask at each moment after the start, whatever became of the requests before it.

    `ask` is given the moment at which it was due. Returns when all are sent, not when they end.
    """
    for offset_s in offsets_s:
        due_s = started_s + offset_s
        gevent.sleep(max(0.0, due_s - time.perf_counter()))
        in_flight.spawn(ask, due_s)


def keep_in_flight(count: int, duration_s: float, ask: Callable[[], object]) -> None:
    """Keep so many requests in flight for a time, and wait for the last ones."""
    end_s = time.perf_counter() + duration_s

    def ask_on() -> None:
        while time.perf_counter() < end_s:
            ask()

    group = Group()
    for _ in range(count):
        group.spawn(ask_on)
    group.join(raise_error=True)
