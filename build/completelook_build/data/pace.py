"""A bounded rate of requests, kept by all the threads that send them."""

import time
from collections.abc import Callable
from threading import Event, Lock


class Stopped(Exception):
    """The download is being given up."""


class Pace:
    """When the next request may go: so many a second, and none while the host wants none."""

    def __init__(
        self,
        requests_per_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._interval_s = 1 / requests_per_s
        self._clock = clock
        self._stopped = Event()
        self._sleep = self._stopped.wait if sleep is None else sleep
        self._next_s = 0.0
        self._lock = Lock()

    def wait(self) -> None:
        """Return when it is this thread's turn to send a request."""
        while pause_s := self._take_turn():
            self.sleep(pause_s)

    def hold(self, seconds: float) -> None:
        """Let no request go for a while."""
        with self._lock:
            self._next_s = max(self._next_s, self._clock() + seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or everything is stopped."""
        if not self._stopped.is_set():
            self._sleep(seconds)
        if self._stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        """Wake all sleepers and let no other request go."""
        self._stopped.set()

    def _take_turn(self) -> float:
        """Zero, having taken the turn, or the seconds until there is one."""
        with self._lock:
            now_s = self._clock()
            if now_s < self._next_s:
                return self._next_s - now_s
            self._next_s = now_s + self._interval_s
            return 0.0
