"""`completelook serve`: the embedded server, until someone stops it."""

import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from completelook.errors import CompleteLookError
from completelook.server.embedded import EmbeddedServer

_LOGGER = logging.getLogger("completelook.server")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Between restarts in a row, of servers that were not ready for long: 0, 1, 2, 4 s and so on.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 10.0
_STEADY_S = 3.0


def serve_until_stopped(
    model_repository: Path | str,
    *,
    grpc_port: int,
    http_port: int | None,
    metrics_port: int,
    arguments: Sequence[str] = (),
) -> None:
    """Run a server until Ctrl-C or SIGTERM, and start it anew when one of its processes dies.

    What happens is told on stderr. For the main thread of a program that has nothing else to do:
    it takes over the signals.

    Raises:
        EmbeddedServerError: the server does not start. Once it was ready, it is started anew as
            often as it takes.
    """
    _show_log(everything=any(argument.startswith("--log-verbose") for argument in arguments))
    server = EmbeddedServer(
        model_repository,
        grpc_port=grpc_port,
        http_port=http_port,
        metrics_port=metrics_port,
        arguments=arguments,
    )
    # They stay taken: the stop is bounded, and a second Ctrl-C would leave it half done.
    for number in _SIGNALS:
        signal.signal(number, lambda *_: server.interrupt())
    try:
        _run(server)
    except KeyboardInterrupt:
        _say("stopping")
    finally:
        server.stop()


def _run(server: EmbeddedServer) -> None:
    pauses_s = None  # between the starts to come, once a server was ready
    while True:
        _say("starting tritonserver")
        try:
            server.start()
            _say_ready(server)
            ready_at_s = time.monotonic()
            pauses_s = pauses_s or _pauses_s()
            try:
                server.wait()
            finally:
                if time.monotonic() - ready_at_s > _STEADY_S:
                    pauses_s = _pauses_s()
        except (CompleteLookError, OSError) as exc:
            if pauses_s is None:
                raise
            pause_s = next(pauses_s)
            _say(f"error: {exc}; starting it anew{f' in {pause_s:g} s' if pause_s else ''}")
            server.pause(pause_s)


def _pauses_s() -> Iterator[float]:
    """How long to wait before each of the restarts in a row."""
    yield 0.0
    pause_s = _FIRST_PAUSE_S
    while True:
        yield min(pause_s, _LONGEST_PAUSE_S)
        pause_s *= 2


def _say_ready(server: EmbeddedServer) -> None:
    http = f", HTTP on {server.http_address}" if server.http_address else ""
    _say(
        f"ready: gRPC on {server.grpc_address}, metrics on {server.metrics_address}{http}; "
        "Ctrl-C stops it"
    )


def _show_log(*, everything: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.DEBUG if everything else logging.WARNING)
    _LOGGER.propagate = False


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
