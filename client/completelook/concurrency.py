"""Concurrency: several requests in flight, in order, and no more than the server can bear."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Condition
from typing import Any, Generic, TypeVar

from completelook.errors import ServerOverloaded, ServerTimeout, ServerUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")
Call = TypeVar("Call", bound="Future[Any] | asyncio.Task[Any]")

# While one call is slow, so many others are worked out for each that may be in flight.
_AHEAD = 32

_START = 16

# The backbone's queue lets a request wait 5 s: growing stops long before it refuses one.
_PROMPT_S = 1.0

# A server is started anew, and loads its models, well within this.
_OUTAGE_S = 120.0
_LOOK_AGAIN_S = 1.0


def map_in_flight(
    function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int
) -> Iterator[Result]:
    """The function's results in the order of the items, worked out `in_flight` at a time.

    A slow one holds the others' results back, but not the work on the 32 * `in_flight` items from
    it on. Items are taken as they are needed. After a failure nothing more is begun; it is raised
    in its turn.
    """
    return _map_on_threads(function, items, in_flight, in_order=True)


def map_as_completed(
    function: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int
) -> Iterator[Result]:
    """`map_in_flight` in whatever order the results come, a failure among them raised at once."""
    return _map_on_threads(function, items, in_flight, in_order=False)


def _map_on_threads(
    function: Callable[[Item], Result], items: Iterable[Item], in_flight: int, *, in_order: bool
) -> Iterator[Result]:
    # Each call says by itself that it is done: to ask all of them every time takes longer than to
    # send a picture.
    done: SimpleQueue[Future[Result]] = SimpleQueue()

    def begin(item: Item) -> Future[Result]:
        call = pool.submit(function, item)
        call.add_done_callback(done.put)
        return call

    with ThreadPoolExecutor(in_flight) as pool:
        line = _Line(begin, items, in_flight, in_order=in_order)
        while line.begin():
            for call in line.end([done.get()]):
                yield call.result()


async def map_tasks_in_flight(
    function: Callable[[Item], Coroutine[Any, Any, Result]],
    items: Iterable[Item],
    *,
    in_flight: int,
) -> AsyncGenerator[Result, None]:
    """`map_in_flight` for coroutines; its end, however it comes, cancels what is under way."""

    def begin(item: Item) -> asyncio.Task[Result]:
        return asyncio.create_task(function(item))

    line = _Line(begin, items, in_flight, in_order=True)
    try:
        while line.begin():
            done, _ = await asyncio.wait(line.under_way, return_when="FIRST_COMPLETED")
            for call in line.end(done):
                yield call.result()
    finally:
        for call in line.under_way:
            call.cancel()
        await asyncio.gather(*line.under_way, return_exceptions=True)


class _Line(Generic[Item, Call]):
    """Calls that are begun and not yet handed on, and the items that wait."""

    def __init__(
        self,
        begin: Callable[[Item], Call],
        items: Iterable[Item],
        in_flight: int,
        *,
        in_order: bool,
    ) -> None:
        self.under_way: set[Call] = set()
        self._begin = begin
        self._waiting = iter(items)
        self._in_flight = in_flight
        self._in_order = in_order
        self._begun: deque[Call] = deque()  # in the order of their items
        self._failed = False

    def begin(self) -> bool:
        """Begin as many calls as there is room for; whether any is under way."""
        while (
            not self._failed
            and len(self.under_way) < self._in_flight
            and len(self._begun) < _AHEAD * self._in_flight
        ):
            try:
                call = self._begin(next(self._waiting))
            except StopIteration:
                break
            self.under_way.add(call)
            if self._in_order:
                self._begun.append(call)
        return bool(self.under_way)

    def end(self, done: Iterable[Call]) -> Iterator[Call]:
        """Note which calls are done; the ones to hand on now."""
        for call in done:
            self.under_way.remove(call)
            self._failed |= call.cancelled() or call.exception() is not None
            if not self._in_order:
                yield call
        while self._begun and self._begun[0].done():
            yield self._begun.popleft()


class Window:
    """How many requests may be in flight, found while they run, as TCP finds its window.

    A prompt answer adds 1 / size, so that a whole window of them adds 1; a slow one adds nothing,
    since the server is busy and more would only wait longer there. A refusal, or no answer in time,
    halves the size, once for all the requests that were in flight together. A server that is gone
    is waited for: what supervises it starts it anew.
    """

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.most = most
        self.size = float(min(_START, most))
        self._clock = clock
        self._sleep = sleep
        self._gone_since_s: float | None = None
        self._in_flight = 0
        self._cuts = 0
        self._changed = Condition()

    def run(self, call: Callable[[], Result]) -> Result:
        """The call's result; a call refused or not answered in time is made again among fewer.

        Raises ServerOverloaded or ServerTimeout once that befalls a call that was alone, and
        ServerUnavailable once there was no answer to any call for _OUTAGE_S.
        """
        while True:
            cuts = self._enter()
            started_s = self._clock()
            try:
                result = call()
                self._answered(self._clock() - started_s)
                return result
            except (ServerOverloaded, ServerTimeout):
                if not self._refused(cuts):
                    raise
            except ServerUnavailable:
                if not self._may_come_back():
                    raise
                self._sleep(_LOOK_AGAIN_S)
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

    def _may_come_back(self) -> bool:
        with self._changed:
            now_s = self._clock()
            if self._gone_since_s is None:
                self._gone_since_s = now_s
            return now_s - self._gone_since_s < _OUTAGE_S

    def _answered(self, seconds: float) -> None:
        with self._changed:
            self._gone_since_s = None
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
