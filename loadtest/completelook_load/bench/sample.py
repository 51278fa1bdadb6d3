"""One measurement: something done again and again for a while, alone or by many at once.

With what it costs: the processor's time in each process that has a part in it.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import psutil
from completelook.errors import CompleteLookError, ServerError

# A closed loop goes on until each user has had so many answers on average; the first wave, which
# meets an idle server, is left out.
_WAVES = 4
_LONGEST_S = 120.0


CLIENT, TRITON, OTHERS = "client", "tritonserver", "other servers"
_STUB = "triton_python_backend_stub"
_INSTANCE = 8  # of a stub's arguments: backbone_0_1, a model's name, group and instance


@dataclass(frozen=True)
class Sample:
    """What a measurement gave: a call answers one image, or a batch of them."""

    images_per_s: float
    p50_s: float | None = None  # None where single answers were not timed
    p95_s: float | None = None
    failures: int = 0
    # The processor's time of an image in each process; empty where it was not taken.
    spent_s: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        images_per_s: float,
        latencies_s: list[float],
        failures: int = 0,
        spent_s: Mapping[str, float] = MappingProxyType({}),
    ) -> "Sample":
        p50_s, p95_s = np.percentile(latencies_s, (50, 95)).tolist()
        return cls(images_per_s, p50_s, p95_s, failures, dict(spent_s))


def repeat(call: Callable[[], object], batch_size: int, duration_s: float) -> Sample:
    """Call a bare model on a batch, one call after the other, at least twice."""
    latencies_s: list[float] = []
    started_s = ended_s = time.perf_counter()
    while len(latencies_s) < 2 or ended_s < started_s + duration_s:
        called_s = ended_s
        call()
        ended_s = time.perf_counter()
        latencies_s.append(ended_s - called_s)
    return Sample.of(len(latencies_s) * batch_size / (ended_s - started_s), latencies_s)


def closed_loop(ask: Callable[[], object], in_flight: int, duration_s: float) -> Sample:
    """Keep so many requests of one image in flight, each user asking anew once answered.

    Raises ServerError where hardly anything is answered.
    """
    loop = _Loop(ask, in_flight, duration_s)
    with spent_s() as spent, ThreadPoolExecutor(in_flight) as pool:
        for user in [pool.submit(loop.run_user) for _ in range(in_flight)]:
            user.result()
    return loop.sample(spent)


def bursts(ask: Callable[[], object], size: int, duration_s: float) -> Sample:
    """Ask for so many images at one moment, and anew once all are answered; nothing comes after.

    Raises what `ask` raises.
    """

    def ask_one(_: int) -> float:
        sent_s = time.perf_counter()
        ask()
        return time.perf_counter() - sent_s

    latencies_s: list[float] = []
    started_s = time.perf_counter()
    with spent_s() as spent, ThreadPoolExecutor(size) as pool:
        while time.perf_counter() < started_s + duration_s:
            latencies_s += pool.map(ask_one, range(size))
    images_per_s = len(latencies_s) / (time.perf_counter() - started_s)
    by_part = {part: each_s / len(latencies_s) for part, each_s in spent.items()}
    return Sample.of(images_per_s, latencies_s, spent_s=by_part)


class _Loop:
    def __init__(self, ask: Callable[[], object], in_flight: int, duration_s: float) -> None:
        self._ask = ask
        self._in_flight = in_flight
        self._answers: list[tuple[float, float]] = []  # when it ended, how long it took
        self._failures: list[str] = []
        self._started_s = time.perf_counter()
        self._ends_s = self._started_s + duration_s

    def run_user(self) -> None:
        while not self._is_over():
            sent_s = time.perf_counter()
            try:
                self._ask()
            except (CompleteLookError, OSError) as error:
                self._failures.append(str(error))
                continue
            ended_s = time.perf_counter()
            self._answers.append((ended_s, ended_s - sent_s))

    def _is_over(self) -> bool:
        now_s = time.perf_counter()
        if now_s > self._started_s + _LONGEST_S:
            return True
        return now_s >= self._ends_s and len(self._answers) >= _WAVES * self._in_flight

    def sample(self, spent_s: Mapping[str, float]) -> Sample:
        """From the end of the first wave to when the last users were still asking.

        What was spent is that of all answers.
        """
        answers = sorted(self._answers)
        if len(answers) <= 2 * self._in_flight:
            reason = self._failures[0] if self._failures else "it is too slow"
            raise ServerError(f"{len(answers)} answers with {self._in_flight} in flight: {reason}")
        needed_s = answers[min(_WAVES * self._in_flight, len(answers)) - 1][0]
        last_s = max(self._ends_s, needed_s)
        first = self._in_flight
        measured = [answer for answer in answers[first:] if answer[0] <= last_s]
        span_s = measured[-1][0] - answers[first - 1][0]
        latencies_s = [latency_s for _, latency_s in measured]
        by_part = {part: each_s / len(answers) for part, each_s in spent_s.items()}
        return Sample.of(len(measured) / span_s, latencies_s, len(self._failures), by_part)


@contextmanager
def spent_s() -> Iterator[Mapping[str, float]]:
    """Seconds of the processor's time within the block, by part; known when it is left.

    The parts are this process, and of the servers that it has started tritonserver and each model.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    before = _times_s()
    yield spent
    for process, (part, time_s) in _times_s().items():
        spent[part] += time_s - before.get(process, (part, 0.0))[1]


def _times_s() -> Mapping[int, tuple[str, float]]:
    """The part and the time until now of this process and all that come from it, by their ids."""
    own = psutil.Process()
    times_s: dict[int, tuple[str, float]] = {}
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            user_s, system_s, *_ = process.cpu_times()
            times_s[process.pid] = (_part(process), user_s + system_s)
    return times_s


def _part(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return CLIENT
    command: list[str] = process.cmdline()
    if command and command[0].endswith(_STUB):
        return command[_INSTANCE].rsplit("_", maxsplit=2)[0]
    return TRITON if command and command[0].endswith(TRITON) else OTHERS
