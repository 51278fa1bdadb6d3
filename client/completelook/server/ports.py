"""The ports a server listens on."""

import contextlib
import socket
from collections.abc import Mapping

from completelook.errors import EmbeddedServerError


def claim_ports(host: str, ports: Mapping[str, int]) -> dict[str, int]:
    """Find a free port for every 0 and make sure that the others are free.

    `ports` maps the option that sets a port to its number.

    Raises:
        EmbeddedServerError: a port is taken, or this user may not listen on it.
    """
    with contextlib.ExitStack() as stack:
        # All stay open until the last is bound: no two may get the same port.
        return {
            option: _listen(stack.enter_context(socket.socket()), host, port, option)
            for option, port in ports.items()
        }


def _listen(listener: socket.socket, host: str, port: int, option: str) -> int:
    # Connections of an earlier server that wind down do not keep a new one from the port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not between 0 and 65535"
        raise EmbeddedServerError(
            f"cannot listen on port {port} of {host} ({reason}): "
            f"choose another port with {option} (0 takes any free one)"
        ) from exc
    return int(listener.getsockname()[1])
