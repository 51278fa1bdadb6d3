"""A running tritonserver and everything that belongs to it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from completelook.server.processes.log import ServerLog
from completelook.server.processes.stubs import Stub, Stubs

_LAUNCHER = Path(__file__).parent / "launch.py"
# Requests in flight get this long to finish.
EXIT_TIMEOUT_S = 10
_STOP_TIMEOUT_S = EXIT_TIMEOUT_S + 5


def bound_to_this_process(command: Sequence[str]) -> list[str]:
    """The command to start in place of another, so that it does not outlive this process.

    The kernel kills it when the thread that started it ends, however that comes.
    """
    return [sys.executable, "-I", str(_LAUNCHER), str(os.getpid()), *command]


class ServerProcess:
    """A tritonserver, started. It never outlives this Python process, however that ends."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._log = ServerLog()
        self.ended = threading.Event()
        self.death: str | None = None
        self._stopping = False
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        launched: Future[subprocess.Popen[str]] = Future()
        self._reader = threading.Thread(
            target=self._run, args=(command, environment, launched), daemon=True
        )
        self._reader.start()
        self._process = launched.result()
        self._stubs = Stubs(self._process.pid)

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def failure(self) -> str:
        """Why the server has ended before it was ready; stops what is left of it."""
        self.stop()
        return self._log.failure() or (
            f"tritonserver ended without a reason, {_describe(self._process.wait())}; "
            "with --log-verbose=1 among its arguments it says more"
        )

    def started(self) -> None:
        """The server is ready: errors that it has logged until now were none of a failure."""
        self._log.started()

    def watch(self) -> None:
        """From now on, when the server or a stub dies: end the rest, set `death` and `ended`.

        To be called when the models are loaded.
        """
        # Here, not in the thread: a stub that dies before it is known would go unnoticed.
        self._stubs.find()
        self._watcher.start()

    def stop(self) -> None:
        """End the server and its stubs; nothing of theirs stays in shared memory."""
        self._stopping = True
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._watcher.is_alive():
            self._watcher.join()
        self._stubs.end()
        self._reader.join()

    def _run(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        launched: "Future[subprocess.Popen[str]]",
    ) -> None:
        """Start the server and read its log, in a thread that lives as long as the server.

        The kernel takes the *thread* that started a process for its parent, and kills the process
        when that thread ends.
        """
        try:
            process = subprocess.Popen(
                bound_to_this_process(command),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # A terminal's Ctrl-C reaches this process alone, which stops the server in order.
                start_new_session=True,
            )
        except OSError as exc:
            launched.set_exception(exc)
            return
        launched.set_result(process)
        with process:
            for line in process.stdout or ():
                self._log.add(line.rstrip("\n"))

    def _watch(self) -> None:
        server_pidfd = os.pidfd_open(self._process.pid)
        try:
            dead_stub = self._stubs.watch(server_pidfd)
        finally:
            os.close(server_pidfd)
        if not self._stopping:
            self.death = self._bury(dead_stub)
        self.ended.set()

    def _bury(self, dead_stub: Stub | None) -> str:
        """End what a death has left, and say what died."""
        if dead_stub:
            # Triton would go on calling itself ready, and hang when asked to stop.
            self._process.kill()
        exit_status = self._process.wait()
        self._stubs.end()
        if dead_stub:
            return f"the process of model instance {dead_stub.instance} (pid {dead_stub.pid}) died"
        return f"tritonserver (pid {self._process.pid}) died, {_describe(exit_status)}"


def _describe(exit_status: int) -> str:
    if exit_status >= 0:
        return f"exit status {exit_status}"
    return f"killed by {signal.Signals(-exit_status).name}"
