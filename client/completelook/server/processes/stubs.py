"""The processes beside tritonserver's own: its Python backend runs each model instance in a stub.

Triton does not notice when one dies, and still calls itself ready. The kernel tells at once, by a
pidfd.
"""

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = "triton_python_backend_stub"
# A stub's command line: program, model file, shared memory region, its size, its growth, the
# server's pid, the Python backend's folder, the region's handle, the model instance.
_REGION, _SERVER_PID, _INSTANCE = 2, 5, 8
_RESCAN_INTERVAL_S = 5.0
# When a model is unloaded, its stub ends a moment before the server removes their shared memory.
_UNLOAD_GRACE_S = 0.5
_KILL_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Stub:
    """One stub: its process, its model instance, the memory it shares with the server."""

    pid: int
    pidfd: int
    instance: str
    region: Path


class Stubs:
    """The stubs that one server has started."""

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._stubs: dict[int, Stub] = {}  # by pidfd

    def find(self) -> None:
        """Take in the stubs that have been started since the last time."""
        known = {stub.pid for stub in self._stubs.values()}
        for pid in _process_ids():
            stub = None if pid in known else _open_stub(pid, self._server_pid)
            if stub:
                self._stubs[stub.pidfd] = stub

    def watch(self, server_pidfd: int) -> Stub | None:
        """Wait until a stub dies, and return it; None when it is the server that ends."""
        while True:
            exited = _wait_for_exit([server_pidfd, *self._stubs], _RESCAN_INTERVAL_S)
            if server_pidfd in exited:
                return None
            for stub in [self._stubs[pidfd] for pidfd in exited]:
                if not _was_unloaded(stub, server_pidfd):
                    return stub
                self._forget(stub)
            self.find()

    def end(self) -> None:
        """After the server's end: end its stubs too, and the memory that they shared with it.

        One that is left to itself follows within four seconds, or waits for ever for a lock.
        """
        self.find()
        for stub in list(self._stubs.values()):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(stub.pidfd, signal.SIGKILL)
            _wait_for_exit([stub.pidfd], _KILL_TIMEOUT_S)
            stub.region.unlink(missing_ok=True)
            self._forget(stub)

    def _forget(self, stub: Stub) -> None:
        del self._stubs[stub.pidfd]
        os.close(stub.pidfd)


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _open_stub(pid: int, server_pid: int) -> Stub | None:
    """The stub that this process is; None when it is no stub of this server, or is gone."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        # One that is just being started, or ends, may show a part of its command line only.
        if not command[0].endswith(_PROGRAM) or len(command) <= _INSTANCE:
            return None
        if command[_SERVER_PID] != str(server_pid):
            return None
        pidfd = os.pidfd_open(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Triton's own place, of Triton's own process.
    return Stub(pid, pidfd, command[_INSTANCE], Path("/dev/shm", command[_REGION]))  # noqa: S108


def _was_unloaded(stub: Stub, server_pidfd: int) -> bool:
    """Tell the end of a model's life from a death: a dead stub's shared memory stays."""
    deadline = time.monotonic() + _UNLOAD_GRACE_S
    while stub.region.exists():
        if _wait_for_exit([server_pidfd], 0.01):
            return True
        if time.monotonic() > deadline:
            return False
    return True


def _wait_for_exit(pidfds: Iterable[int], timeout_s: float) -> list[int]:
    """The processes that have ended, as soon as there is one; none after the timeout."""
    poller = select.poll()
    for pidfd in pidfds:
        poller.register(pidfd, select.POLLIN)
    return [pidfd for pidfd, _ in poller.poll(timeout_s * 1000)]
