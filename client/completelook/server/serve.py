"""`completelook serve`: the embedded server, until someone stops it."""

import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from completelook.errors import EmbeddedServerError
from completelook.server.embedded import EmbeddedServer

_LOGGER = logging.getLogger("completelook.server")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RESTARTS_IN_A_ROW = 3
# The death of a server that has run this long is the first in a row.
_STEADY_S = 300


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
        EmbeddedServerError: the server does not start, or dies again and again.
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
    deaths = 0
    while True:
        _say("starting tritonserver")
        server.start()
        ready_at = time.monotonic()
        _say(
            f"ready: gRPC on {server.grpc_address}, metrics on {server.metrics_address}"
            f"{f', HTTP on {server.http_address}' if server.http_address else ''}; Ctrl-C stops it"
        )
        try:
            server.wait()
        except EmbeddedServerError as exc:
            deaths = 1 if time.monotonic() - ready_at > _STEADY_S else deaths + 1
            if deaths > _RESTARTS_IN_A_ROW:
                raise EmbeddedServerError(f"{exc}, for the {deaths}th time in a row") from exc
            _say(f"error: {exc}; starting it anew ({deaths} of {_RESTARTS_IN_A_ROW} times)")


def _show_log(*, everything: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.DEBUG if everything else logging.WARNING)
    _LOGGER.propagate = False


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
