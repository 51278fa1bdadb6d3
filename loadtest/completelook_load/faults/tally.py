"""What became of what was asked while a fault was injected, again and again."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
    told: Counter[str] = field(default_factory=Counter)  # by the error's name
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    hung: int = 0
    left: int = 0
    recovery_s: list[float] = field(default_factory=list)  # of each injection
    notes: list[str] = field(default_factory=list)  # what a reader has to know beside
    problems: list[str] = field(default_factory=list)  # what was lost, wrong and so on, in words
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

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
        thread.join(within_s)
        if not ended:
            self.note("hung", f"no end within {within_s:g} s")
            return False
        if isinstance(ended[0], CompleteLookError):
            self.tell(ended[0])
            return False
        if isinstance(ended[0], BaseException):
            self.note("lost", f"{type(ended[0]).__name__}: {ended[0]}")
            return False
        if not is_right(ended[0]):
            self.note("wrong", f"answered {ended[0]!r:.200}")
            return False
        with self._lock:
            self.answered += 1
        return True

    def tell(self, error: CompleteLookError) -> None:
        """Note that an error was told."""
        with self._lock:
            self.told[type(error).__name__] += 1

    def note(self, what: str, problem: str, count: int = 1) -> None:
        """Note what must not be: `lost`, `doubled`, `wrong`, `hung` or `left`, so many times."""
        if count:
            with self._lock:
                setattr(self, what, getattr(self, what) + count)
                self.problems.append(f"{what}: {problem}")

    def recovered(self, since_s: float) -> None:
        """Note that all is well again, since a moment of `time.monotonic`."""
        self.recovery_s.append(time.monotonic() - since_s)

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        lock, self._lock = self._lock, None  # type: ignore[assignment]
        try:
            fields = asdict(self)
        finally:
            self._lock = lock
        del fields["_lock"]
        return fields

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Tally":
        """The tally that was written."""
        return cls(**{**fields, "told": Counter(fields["told"])})


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until a condition holds; whether it did in time."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True
