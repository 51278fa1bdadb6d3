"""What became of what was asked while a fault was injected, again and again."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from completelook.errors import CompleteLookError

Answer = TypeVar("Answer")

_LOOK_AGAIN_S = 0.05


@dataclass
class Tally:
    """Counts of one fault; threads may share it.

    A question ends with an answer, or is told an error of this package that names a way out: both
    are as they should be. Lost is what ends otherwise, and what was done and is not there
    afterwards; doubled what is there twice; wrong an answer that is not the one expected; hung what
    does not end in its time; left what stays of a process after its end.
    """

    injected: int = 0
    answered: int = 0
    told: dict[str, int] = field(default_factory=dict)  # by the error's name
    said: dict[str, str] = field(default_factory=dict)  # the first message of each
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    hung: int = 0
    left: int = 0
    recovery_s: list[float] = field(default_factory=list)  # of each injection
    notes: list[str] = field(default_factory=list)  # what a reader has to know beside
    problems: list[str] = field(default_factory=list)  # what was lost, wrong and so on, in words

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    @property
    def is_clean(self) -> bool:
        """Whether nothing went as it must not."""
        return not (self.lost or self.doubled or self.wrong or self.hung or self.left)

    def ask(
        self, call: Callable[[], Answer], is_right: Callable[[Answer], bool], within_s: float
    ) -> bool:
        """Make a call and note how it ends; whether with the right answer."""
        ended: list[Any] = []

        def run() -> None:
            try:
                ended.append(call())
            except BaseException as error:
                ended.append(error)

        # A thread, since a call that hangs cannot be ended, only left behind.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        # In slices, so that a machine or a process that was suspended meanwhile is no hang.
        for _ in range(max(1, round(within_s / _LOOK_AGAIN_S))):
            thread.join(_LOOK_AGAIN_S)
            if not thread.is_alive():
                break
        if not ended:
            self.note("hung", f"no end within {within_s:g} s")
            return False
        return self.end(ended[0], is_right)

    def end(self, outcome: Any, is_right: Callable[[Any], bool]) -> bool:
        """Note how a question has ended, with an answer or an exception; whether rightly."""
        if isinstance(outcome, CompleteLookError):
            with self._lock:
                name = type(outcome).__name__
                self.told[name] = self.told.get(name, 0) + 1
                self.said.setdefault(name, str(outcome))
            return False
        if isinstance(outcome, BaseException):
            self.note("lost", f"{type(outcome).__name__}: {outcome}")
            return False
        if not is_right(outcome):
            self.note("wrong", f"answered {outcome!r:.200}")
            return False
        with self._lock:
            self.answered += 1
        return True

    def note(self, what: str, problem: str, count: int = 1) -> None:
        """Note what must not be: `lost`, `doubled`, `wrong`, `hung` or `left`, so many times."""
        if count:
            with self._lock:
                setattr(self, what, getattr(self, what) + count)
                self.problems.append(f"{what}: {problem}")

    def recovered(self, since_s: float) -> None:
        """Note that all is well again, since a moment of `time.monotonic`."""
        self.recovery_s.append(round(time.monotonic() - since_s, 3))

    def as_json(self) -> dict[str, Any]:
        """What makes the same tally: Tally(**fields)."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until a condition holds; whether it did in time."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True
