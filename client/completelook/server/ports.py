"""The ports a server listens on: claimed before it starts, waited for after."""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping

from completelook.errors import EmbeddedServerError

_POLL_INTERVAL_S = 0.05
_LISTENING_TIMEOUT_S = 600


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


def wait_until_listening(host: str, port: int, check_alive: Callable[[], None]) -> None:
    """Wait until the server has loaded its models and opened a port, gRPC's before all others.

    Raises:
        EmbeddedServerError: it has not within ten minutes; or what `check_alive` raises.
    """
    # Not through gRPC, which waits a second and more between two tries.
    deadline = time.monotonic() + _LISTENING_TIMEOUT_S
    while time.monotonic() < deadline:
        check_alive()
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(_POLL_INTERVAL_S)
        else:
            return
    raise EmbeddedServerError(
        f"the embedded server does not listen on {host}:{port} after {_LISTENING_TIMEOUT_S} s: "
        "see what it says with --log-verbose=1 among its arguments"
    )


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
