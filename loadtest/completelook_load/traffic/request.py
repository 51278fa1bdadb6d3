"""One request, drawn from the mix, and how it ended."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from completelook import Catalog, CompleteLook, ImageSource
from completelook.errors import CompleteLookError, ServerOverloaded
from tritonclient.utils import InferenceServerException

# What users ask for, out of ten requests.
MIX = {"embed_scene": 5, "rank": 3, "embed_product": 2}
# Longer than the server's queue keeps anything, short enough to bound every run.
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """How a request ended; moments are seconds on one monotonic clock."""

    kind: str
    due_s: float  # when it should have been sent
    sent_s: float
    ended_s: float
    failure: str | None = None  # gRPC status and message
    refused: bool = False  # the server said that it is overloaded

    @property
    def latency_s(self) -> float:
        """From when it was due: a generator that lags behind hides no waiting."""
        return self.ended_s - self.due_s

    @property
    def lag_s(self) -> float:
        return self.sent_s - self.due_s


class RequestMix:
    """Asks a server for things, in the mix, about pictures in turn."""

    def __init__(
        self, look: CompleteLook, catalog: Catalog, pictures: Sequence[ImageSource], seed: int
    ) -> None:
        self._look = look
        self._catalog = catalog
        self._pictures = pictures
        self._random = random.Random(seed)

    def send(self, kind: str | None = None, *, due_s: float | None = None) -> Outcome:
        """Send one request, of a kind drawn from the mix unless it is named, and time it."""
        kind = kind or self._random.choices(list(MIX), list(MIX.values()))[0]
        picture = self._random.choice(self._pictures)
        sent_s = time.perf_counter()
        due_s = sent_s if due_s is None else due_s
        try:
            self._perform(kind, picture)
        except CompleteLookError as error:
            text, refused = describe_failure(error)
            return Outcome(kind, due_s, sent_s, time.perf_counter(), text, refused)
        return Outcome(kind, due_s, sent_s, time.perf_counter())

    def check(self) -> None:
        """One request of each kind. Raises what is wrong, before any load is put on it."""
        for kind in MIX:
            self._perform(kind, self._pictures[0])

    def _perform(self, kind: str, picture: ImageSource) -> None:
        match kind:
            case "embed_scene":
                self._look.embed_scene(picture)
            case "rank":
                self._look.rank_scene(picture, self._catalog)
            case "embed_product":
                self._look.embed_product(picture)
            case _:
                raise ValueError(f"kind is {kind!r}, expected one of {', '.join(MIX)}")


def describe_failure(error: CompleteLookError) -> tuple[str, bool]:
    """A failure's gRPC status and message, and whether it is a refusal under overload."""
    cause = error.__cause__
    if not isinstance(cause, InferenceServerException):
        return f"CLIENT: {' '.join(str(error).split())}", False
    status = str(cause.status()).removeprefix("StatusCode.")
    refused = status == "UNAVAILABLE" and isinstance(error, ServerOverloaded)
    return f"{status}: {' '.join(str(cause.message()).split())}", refused
