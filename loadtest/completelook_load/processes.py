"""This machine, and the client's commands in processes of their own, seen from outside."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import psutil
from completelook.server import bound_to_this_process

_COMPLETELOOK = (sys.executable, "-c", "from completelook.cli import main; main()")
_READY = "ready at http://"


def machine() -> str:
    """The cores that this process may use, and whose they are."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{len(os.sched_getaffinity(0))} cores of {model}"


def core_s(process: psutil.Process) -> float:
    """The seconds of one core that a process has taken so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def started(*arguments: str) -> "Popen[str]":
    """`completelook` with some arguments; what it says can be read from `stderr`."""
    command = bound_to_this_process([*_COMPLETELOOK, *arguments])
    return Popen(command, stdout=DEVNULL, stderr=PIPE, text=True)


@contextmanager
def served_web(catalog: Path, server: str, scenes: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`completelook web` on a free port: its HOST:PORT, and its process. Raises OSError."""
    arguments = ["--port", "0", "--catalog", str(catalog), "--server", server]
    with started("web", *arguments, "--scenes", str(scenes)) as process:
        assert process.stderr is not None
        line = process.stderr.readline().strip()
        try:
            if not line.startswith(_READY):
                raise OSError(f"completelook web: {line or 'ended at once'}")
            yield line.removeprefix(_READY), psutil.Process(process.pid)
        finally:
            process.terminate()
