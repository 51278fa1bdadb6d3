"""When a failed call is made again, and when not.

Triton's UNAVAILABLE is overload, a broken connection, a server that is down or one that does not
answer to strangers. Only the first two pass within the moment that a retry waits. Were all calls
retried while most fail, an overloaded server would get several times the load: so a retry has to be
earned.
"""

import random
import time
from dataclasses import dataclass, field
from threading import Lock

from completelook.errors import ServerError

_ATTEMPTS = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
# A failure takes one, an answer earns a tenth, and with half of them gone nothing is retried: not
# while more than about one call in ten fails.
_TOKENS, _EARNED = 10.0, 0.1


@dataclass
class RetryBudget:
    """What all the calls of one connection may spend on retries. Thread-safe."""

    enabled: bool = True
    _tokens: float = _TOKENS
    _lock: Lock = field(default_factory=Lock)

    def earn(self) -> None:
        """Take note of an answer."""
        with self._lock:
            self._tokens = min(self._tokens + _EARNED, _TOKENS)

    def spend(self) -> bool:
        """Take note of a failure; whether it may be followed by a retry."""
        with self._lock:
            self._tokens = max(self._tokens - 1, 0)
            return self.enabled and self._tokens > _TOKENS / 2


class Attempts:
    """The attempts of one call, all within its time."""

    def __init__(self, budget: RetryBudget, timeout_s: float) -> None:
        self._budget = budget
        self._end_s = time.monotonic() + timeout_s
        self._made = 0

    @property
    def left_s(self) -> float:
        return max(self._end_s - time.monotonic(), 0.001)

    def pause_s(self, error: ServerError) -> float | None:
        """How long to wait before the next attempt, None where the error stands."""
        self._made += 1
        longest_s = min(_FIRST_PAUSE_S * 2 ** (self._made - 1), _LONGEST_PAUSE_S)
        # At random, so that those who were refused together do not come back together.
        pause_s = random.uniform(0, longest_s)
        if not error.passes or not self._budget.spend() or self._made == _ATTEMPTS:
            return None
        return pause_s if pause_s < self.left_s else None
