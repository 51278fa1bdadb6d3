"""`completelook serve` in a process of its own, what it says, and the processes below it."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import Self

import psutil

from completelook_load.faults.tally import Tally, until
from completelook_load.processes import started

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written
_SERVER = "tritonserver"
_STUB, _REGION = "_stub", 2  # a part of its name; which argument names its memory
_END_S = 30.0


class Serve:
    """A supervised server on a port of its own, which it keeps when it is started anew."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._port, self._metrics_port = _free_port(), _free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.lines: list[str] = []
        # What it has had, to see what stays of it.
        self._processes: set[psutil.Process] = set()
        self.regions: set[Path] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, without waiting for anything."""
        options = ["--model-repository", str(self._repository)]
        options += ["--grpc-port", str(self._port), "--metrics-port", str(self._metrics_port)]
        self._process = started("serve", *options)
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """End it in order."""
        self.stubs()  # They are looked for afterwards.
        self._process.terminate()
        self._end()

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.stubs()
        self._process.kill()
        self._end()

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def server(self) -> psutil.Process:
        """tritonserver. Raises IndexError where there is none."""
        return next(each for each in self._below() if each.name().startswith(_SERVER))

    def stubs(self) -> list[psutil.Process]:
        """The models' processes."""
        return [each for each in self._below() if _STUB in each.name()]

    def says(self, text: str, since: int, timeout_s: float = _END_S) -> bool:
        """Wait until it says something, in a line from the number `since` on; whether it did."""
        return until(lambda: any(text in line for line in self.lines[since:]), timeout_s)

    def note_what_is_left(self, tally: Tally) -> None:
        """Note the processes and the shared memory that outlive it."""
        until(lambda: not self._left(), _END_S)
        tally.note("left", ", ".join(self._left()), len(self._left()))

    def _left(self) -> list[str]:
        living = [f"process {each.pid}" for each in self._processes if _is_alive(each)]
        return living + [str(path) for path in self.regions if path.exists()]

    def _below(self) -> list[psutil.Process]:
        found = []
        with suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess, IndexError):  # It may just end, or begin.
                    if _STUB in each.name():
                        self.regions.add(_SHARED_MEMORY / each.cmdline()[_REGION])
                    elif not each.name().startswith(_SERVER):
                        continue  # What clears up after a killed server, and ends by itself.
                    found.append(each)
        self._processes.update(found)
        return found

    def _end(self) -> None:
        self._process.wait(_END_S)
        self._reader.join()
        if self._process.stderr:
            self._process.stderr.close()

    def _read(self, process: "Popen[str]") -> None:
        for line in process.stderr or ():
            self.lines.append(line.rstrip())


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
