"""Become a command that the kernel kills when its parent dies.

A script, `python launch.py PARENT_PID COMMAND...`: subprocess's preexec_fn would do the same, but
is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent_pid, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the kernel was told to watch it.
    if os.getppid() == int(parent_pid):
        os.execv(command[0], command)
