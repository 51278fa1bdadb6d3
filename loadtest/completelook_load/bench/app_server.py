"""The other servers: an app in a process of its own, and a client that asks it."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import urllib3
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import ServerError
from completelook.server import bound_to_this_process, claim_ports
from numpy.typing import NDArray

_APPS = "completelook_load.bench.apps"
_HOST = "127.0.0.1"
_START_S = 180.0
_ANSWER_S = 60.0
_MOST_IN_FLIGHT = 64

Answer = dict[str, str]
Image = NDArray[np.uint8]  # [224, 224, 3]
AsRequest = Callable[[Image], dict[str, Any]]


def as_json(image: Image) -> dict[str, Any]:
    """A request that carries its picture as base64 within JSON."""
    return {"json": {"image": base64.b64encode(image.tobytes()).decode("ascii")}}


def as_bytes(image: Image) -> dict[str, Any]:
    """A request that is the picture."""
    return {"body": image.tobytes(), "headers": {"Content-Type": "application/octet-stream"}}


def contexts_of(answer: Answer) -> NDArray[np.float32]:
    """The context embeddings [C, 128] of an answer."""
    return np.frombuffer(base64.b64decode(answer["contexts"]), np.float32).reshape(
        -1, EMBEDDING_SIZE
    )


class AppServer:
    """A running app, and `ask`, which sends it a picture; thread-safe.

    It stands still but for the times within `running`: LitServe polls even when nobody asks, a
    tenth of a core that would be missing where something else is measured.
    """

    def __init__(
        self,
        app: str,
        repository: Path,
        as_request: AsRequest,
        environment: Mapping[str, str],
    ) -> None:
        self._app, self._repository, self._as_request = app, repository, as_request
        self._environment = environment
        self._port = claim_ports(_HOST, {"port": 0})["port"]
        self._pool = self._connected()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            bound_to_this_process(
                [sys.executable, "-m", _APPS, self._app, str(self._repository), str(self._port)]
            ),
            env={**self._environment, **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the app run for as long as the block lasts."""
        self._signal(signal.SIGCONT)
        self._pool = self._connected()
        try:
            yield
        finally:
            # An app that has stood still for long hangs up on connections from before.
            self._pool.close()
            self._signal(signal.SIGSTOP)

    def ask(self, image: Image) -> Answer:
        """What the app makes of a picture.

        Raises ServerError where it does not answer.
        """
        try:
            response = self._pool.request("POST", "/predict", **self._as_request(image))
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{self._app} does not answer: {error}") from error
        if response.status != 200:
            raise ServerError(f"{self._app} answers with status {response.status}")
        answer: Answer = response.json()
        return answer

    def _connected(self) -> urllib3.HTTPConnectionPool:
        return urllib3.HTTPConnectionPool(
            _HOST, self._port, maxsize=_MOST_IN_FLIGHT, timeout=_ANSWER_S, retries=False
        )

    def _wait(self) -> None:
        end_s = time.monotonic() + _START_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > end_s:
                raise ServerError(
                    f"{self._app} did not start: see `python -m {_APPS} {self._app} FOLDER PORT`"
                )
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            return bool(self._pool.request("GET", "/health").status == 200)
        except urllib3.exceptions.HTTPError:
            return False

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._pool.close()

    def _signal(self, number: signal.Signals) -> None:
        """Tell the app and the processes that it has started, all of one session of their own."""
        os.killpg(self._process.pid, number)
