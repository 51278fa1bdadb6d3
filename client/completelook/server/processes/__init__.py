"""The processes of a server: started, watched, ended, and what they write."""

from completelook.server.processes.log import one_line
from completelook.server.processes.server_process import (
    EXIT_TIMEOUT_S,
    ServerProcess,
    bound_to_this_process,
)

__all__ = ["EXIT_TIMEOUT_S", "ServerProcess", "bound_to_this_process", "one_line"]
