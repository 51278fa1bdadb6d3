"""A real Milvus for tests: its standalone server, alone in a network namespace.

The server listens on every interface and has no setting for it, so it runs where there is only a
loopback of its own. A relay carries connections in: it accepts them on a socket that was opened
outside, and reaches the server inside.

This file is both sides. Imported, it is `MilvusServer`; as a program, in the namespace and in the
environment that holds the wheel `milvus`, it is the relay and the server's parent.
"""

import asyncio
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOT = Path(__file__).parents[1]
_PYTHON = Path(
    os.environ.get("COMPLETELOOK_MILVUS_PYTHON", _ROOT / ".venv-milvus" / "bin" / "python")
)
_INNER_PORT = 19530


class MilvusServer:
    """A server with its data in a folder; `kill` and `start` again is a crash and a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._listening.close()

    def start(self) -> None:
        """Start, anew where it runs, and wait until it serves. Raises RuntimeError."""
        self.kill()
        descriptor = self._listening.fileno()
        # What ends the relay is the end of its input, so that it ends with this process too.
        self._process = subprocess.Popen(
            [*_unshare(), str(_PYTHON), __file__, str(self.folder), str(descriptor)],
            pass_fds=[descriptor],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout.readline() != "ready\n":
            self.kill()
            raise RuntimeError(f"Milvus did not start, see {self.folder / 'logs'}")

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would; nothing answers until it starts again."""
        if self._process is not None:
            self._process.communicate()  # closes its input
            self._process = None


def reason_to_skip() -> str | None:
    """Why no server can be had here, if so."""
    if not _PYTHON.is_file():
        return "no Milvus: `make .venv-milvus/installed` or COMPLETELOOK_MILVUS_PYTHON"
    if not _unshare():
        return "no network namespace for Milvus: needs `unshare` and the right to use it"
    return None


def _unshare() -> list[str]:
    """The command that runs another in a network namespace; empty where there is none."""
    for options in (["-n"], ["-rn"]):  # as root; as a user, where the kernel allows that
        command = ["unshare", *options]
        if (
            shutil.which("unshare")
            and not subprocess.run([*command, "true"], check=False).returncode
        ):
            return command
    return []


def _loopback_up() -> None:
    """`ip link set lo up`, whether or not there is an `ip`."""
    set_flags, up_and_running = 0x8914, 0x41
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", up_and_running))


def _start_server(folder: Path) -> Any:
    """The wheel's server, once it serves; it ends with the object, or with this process."""
    import milvus

    def die_with_parent() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)

    server = milvus.MilvusServer()
    server.set_base_dir(str(folder))
    server.listen_port = _INNER_PORT
    # A restart waits until the session of the killed one has run out, by default 20 s.
    server.config.set("common.session.ttl", 3)
    # Unpacking takes longer than starting: once is enough.
    binaries = _PYTHON.parents[1] / "server"
    milvus._initialize_data_files(str(binaries))
    (folder / "bin").unlink(missing_ok=True)
    (folder / "bin").symlink_to(binaries / "bin")
    popen: Any = milvus.subprocess.Popen
    milvus._initialize_data_files = lambda _: None
    milvus.subprocess.Popen = lambda *arguments, **options: popen(
        *arguments, preexec_fn=die_with_parent, **options
    )
    server.start()
    return server


async def _relay(listening: socket.socket) -> None:
    """Carry connections in, until standard input ends."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner = await asyncio.open_connection("127.0.0.1", _INNER_PORT)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, inner[1]), copy(inner[0], writer))

    relay = await asyncio.start_server(connected, sock=listening)
    print("ready", flush=True)
    await relay.serve_forever()


def _main() -> None:
    folder, descriptor = Path(sys.argv[1]), int(sys.argv[2])
    _loopback_up()
    server = _start_server(folder)
    threading.Thread(target=_end_with_input, args=[server.server_proc], daemon=True).start()
    asyncio.run(_relay(socket.socket(fileno=descriptor)))


def _end_with_input(server: subprocess.Popen[str]) -> None:
    sys.stdin.read()
    server.kill()  # SIGTERM takes seconds
    server.wait()
    os._exit(0)


if __name__ == "__main__":
    _main()
