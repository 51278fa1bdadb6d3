"""What answers cost: the processor's time in each process that has a part in them."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil

CLIENT, TRITON, OTHERS = "client", "tritonserver", "other servers"
_STUB = "triton_python_backend_stub"
_INSTANCE = 8  # of a stub's arguments: backbone_0_1, a model's name, group and instance


@contextmanager
def spent_s() -> Iterator[Mapping[str, float]]:
    """Seconds of the processor's time within the block, by part; known when it is left.

    The parts are this process, and of the servers that it has started tritonserver and each model.
    """
    spent: defaultdict[str, float] = defaultdict(float)
    before = _times_s()
    yield spent
    for process, (part, time_s) in _times_s().items():
        spent[part] += time_s - before.get(process, (part, 0.0))[1]


def _times_s() -> Mapping[int, tuple[str, float]]:
    """The part and the time until now of this process and all that come from it, by their ids."""
    own = psutil.Process()
    times_s: dict[int, tuple[str, float]] = {}
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            user_s, system_s, *_ = process.cpu_times()
            times_s[process.pid] = (_part(process), user_s + system_s)
    return times_s


def _part(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return CLIENT
    command: list[str] = process.cmdline()
    if command and command[0].endswith(_STUB):
        return command[_INSTANCE].rsplit("_", maxsplit=2)[0]
    return TRITON if command and command[0].endswith(TRITON) else OTHERS
