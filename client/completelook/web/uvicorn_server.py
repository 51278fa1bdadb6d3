"""Running the service: a socket, uvicorn, and the one line that says it is ready."""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from completelook.errors import UsageError
from completelook.web.app import create_app
from completelook.web.service import Settings

_BACKLOG = 2_048


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve until Ctrl-C; port 0 takes a free one. Raises CatalogError, UsageError."""
    app = create_app(settings)
    listening = _listening(host, port)
    address = listening.getsockname()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        lifespan="on",
        # A request may take as long as its limit says; then a stop waits no more.
        timeout_graceful_shutdown=10,
    )
    server = _Server(config, lambda: _say_ready(host, address[1]))
    with listening, suppress(KeyboardInterrupt):  # Raised once all has ended well.
        asyncio.run(server.serve(sockets=[listening]))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its number: asyncio sends at once (TCP_NODELAY) only on a socket that says it.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
        return listening
    except (OSError, OverflowError) as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host}, port {port}: {error}: give another with --host or --port"
        ) from error


def _say_ready(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(f"ready at http://{shown}:{port}", file=sys.stderr, flush=True)
