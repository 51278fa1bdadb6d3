"""Concurrency: several requests in flight, in order, and no more than the server can bear."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import Any, TypeVar

from completelook.errors import ServerOverloaded

Item = TypeVar("Item")
Result = TypeVar("Result")

_START = 16

# The backbone's queue lets a request wait 5 s: growing stops long before it refuses one.
_PROMPT_S = 1.0


def map_in_flight(
    function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int
) -> Iterator[Result]:
    """The function's results in the order of the items, worked out `in_flight` at a time.

    Items are taken as they are needed. After a failure nothing more is started.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(in_flight) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


async def gather_in_flight(
    function: Callable[[Item], Coroutine[Any, Any, Result]],
    items: Iterable[Item],
    *,
    in_flight: int,
) -> list[Result]:
    """`map_in_flight` for coroutines; a failure or a cancellation cancels what is under way."""
    results: list[Result] = []
    waiting: deque[asyncio.Task[Result]] = deque()
    try:
        for item in items:
            waiting.append(asyncio.create_task(function(item)))
            if len(waiting) == in_flight:
                results.append(await waiting.popleft())
        while waiting:
            results.append(await waiting.popleft())
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return results


class Window:
    """How many requests may be in flight, found while they run, as TCP finds its window.

    A prompt answer adds 1 / size, so that a whole window of them adds 1; a slow one adds nothing,
    since the server is busy and more would only wait longer there. A refusal halves the size, once
    for all the requests that were in flight together.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.size = float(min(_START, most))
        self._clock = clock
        self._in_flight = 0
        self._cuts = 0
        self._changed = Condition()

    def run(self, call: Callable[[], Result]) -> Result:
        """The call's result; one that the server refuses is made again among fewer.

        Raises ServerOverloaded once a call is refused that was alone.
        """
        while True:
            cuts = self._enter()
            started_s = self._clock()
            try:
                result = call()
                self._answered(self._clock() - started_s)
                return result
            except ServerOverloaded:
                if not self._refused(cuts):
                    raise
            finally:
                self._leave()

    def _enter(self) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight < int(self.size))
            self._in_flight += 1
            return self._cuts

    def _leave(self) -> None:
        with self._changed:
            self._in_flight -= 1
            # As many as can enter: woken for nothing, the others would take time from the server.
            self._changed.notify(max(0, int(self.size) - self._in_flight))

    def _answered(self, seconds: float) -> None:
        with self._changed:
            if seconds < _PROMPT_S:
                self.size = min(self.size + 1 / self.size, self.most)

    def _refused(self, cuts: int) -> bool:
        """Whether to try again; `cuts` is how often the window had been cut when the call began."""
        with self._changed:
            if cuts != self._cuts:
                return True  # It belongs to a window that is cut already.
            if self.size < 2:
                return False
            self._cuts += 1
            self.size = max(1.0, self.size / 2)
            return True
