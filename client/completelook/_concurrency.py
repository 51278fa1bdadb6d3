"""Concurrency: the one way this client keeps several requests in flight."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
