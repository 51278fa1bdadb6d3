"""Become a command that the kernel kills when its parent dies.

A script, `python launch.py PARENT_PID COMMAND...`: subprocess's preexec_fn would do the same, but
is not safe in a process with threads. Triton's server also gets a process beside it that outlives
it: a stub which is waiting for a lock of its server when that is killed would wait for ever.
"""

import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_SERVER = "tritonserver"
# Stubs that were just being started when the server died show late.
_SWEEPS, _SWEEP_INTERVAL_S = 10, 0.5


def _clear_up_after_this_process() -> None:
    """Leave a process behind that waits for the end of this one, and then ends its stubs."""
    server_pid = os.getpid()
    pidfd = os.pidfd_open(server_pid)
    if os.fork():
        return
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):  # Who reads the server's log waits for its end.
        os.dup2(null, descriptor)
    sys.path.insert(0, str(Path(__file__).parent))
    from stubs import Stubs

    select.select([pidfd], [], [])
    for _ in range(_SWEEPS):
        Stubs(server_pid).end()
        time.sleep(_SWEEP_INTERVAL_S)
    os._exit(0)


if __name__ == "__main__":
    parent_pid, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the kernel was told to watch it.
    if os.getppid() == int(parent_pid):
        if Path(command[0]).name == _SERVER:
            _clear_up_after_this_process()
        os.execv(command[0], command)
