"""The model that answers, as its configuration describes it: names and calibration, kept fresh."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from completelook.contract import CALIBRATION_PARAMETER, CATEGORIES_PARAMETER, EMBED_SCENE
from completelook.errors import ContractError
from completelook.ranking import Calibration

# How long a configuration counts: a map calibrated anew keeps the model's id.
MOST_AGE_S = 30.0


@dataclass(frozen=True)
class Configuration:
    """The parameters of the scene model that a server runs."""

    server: str
    parameters: Mapping[str, str]

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The ordered category names. Raises ContractError."""
        text = self.parameters.get(CATEGORIES_PARAMETER)
        try:
            names = json.loads(text or "")
        except ValueError as exc:
            raise self._unreadable(CATEGORIES_PARAMETER, "JSON list of names") from exc
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._unreadable(CATEGORIES_PARAMETER, "JSON list of names")
        return tuple(names)

    @cached_property
    def calibration(self) -> Calibration | None:
        """The map from distance to compatibility, if there is one. Raises ContractError."""
        text = self.parameters.get(CALIBRATION_PARAMETER)
        if text is None:
            return None
        try:
            return Calibration.from_json(text)
        except ValueError as exc:
            raise self._unreadable(CALIBRATION_PARAMETER, f"calibration ({exc})") from exc

    def _unreadable(self, parameter: str, expected: str) -> ContractError:
        text = self.parameters.get(parameter)
        got = "nothing" if text is None else repr(text[:60])
        return ContractError(
            f"the configuration of {EMBED_SCENE.name} at {self.server} has {got} for its parameter "
            f"{parameter!r}, which is no {expected}: export the model again with "
            "`completelook-build export` and restart the server"
        )


class ServedModel:
    """What a client remembers of the model that answers; no lock is held over a question.

    A configuration counts until an answer shows another model, or until it is MOST_AGE_S old.
    Those who need a new one at the same time share one reading of it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._model_id: int | None = None
        self._reading: Future[Configuration] | None = None
        self._begun_s = 0.0

    def note(self, model_id: int) -> None:
        """Forget the configuration once an answer shows that another model gives it."""
        with self._lock:
            if model_id != self._model_id:
                self._model_id, self._reading = model_id, None

    def claim(self) -> tuple[Future[Configuration], bool]:
        """The configuration, perhaps still being read, and whether the caller is to read it."""
        with self._lock:
            now_s = time.monotonic()
            if self._reading is not None and (
                not self._reading.done() or now_s - self._begun_s < MOST_AGE_S
            ):
                return self._reading, False
            self._reading, self._begun_s = Future(), now_s
            return self._reading, True

    @contextmanager
    def filling(self, reading: "Future[Configuration]") -> Iterator[None]:
        """Give a failure to all who wait for a reading, and forget it, so that the next asks anew.

        A cancellation is raised as well.
        """
        try:
            yield
        except BaseException as exc:
            with self._lock:
                if self._reading is reading:
                    self._reading = None
            if not isinstance(exc, Exception):
                reading.cancel()
                raise
            reading.set_exception(exc)
