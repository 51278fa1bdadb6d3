"""What a tritonserver writes: passed on to `logging`, and kept while it may explain a failure."""

import logging
import re

_LOGGER = logging.getLogger("completelook.server")
_MARK = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ \d+ [\w.]+:\d+\] ")
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_LOAD_FAILURE = re.compile(
    r"failed to load '(?P<model>[^']+)' version \d+: (?P<reason>.+)", re.DOTALL
)
# Said on every machine without a GPU, and at every stop.
_HARMLESS = (
    "CUDA driver version is insufficient",
    "CudaDriverHelper has not been initialized",
    "DCGM unable to start",
    "Failed to initialize NVML",
    "Signal (15) received",
    "no pinned memory pool",
)
# A wrong argument makes tritonserver write its whole help. This is what a line of it looks like.
_HELP = re.compile(r"\s|Usage:|.*:$|$")


class ServerLog:
    """The log of one run of a server.

    Errors are held back until the server is ready: if it never is, they are the reason, and an
    exception says it more plainly.
    """

    def __init__(self) -> None:
        self._level = logging.INFO
        self._starting = True
        self._errors: list[str] = []
        self._remarks: list[str] = []

    def add(self, line: str) -> None:
        """Take in one line; one without Triton's mark goes on with the message before it."""
        mark = _MARK.match(line)
        if mark:
            self._level = _LEVELS[mark["level"]]
        if any(text in line for text in _HARMLESS):
            _LOGGER.debug(line)
        elif self._starting and self._level >= logging.ERROR:
            _LOGGER.debug(line)
            self._hold(line, new=mark is not None)
        else:
            _LOGGER.log(self._level, line)
            if self._starting and not mark and not _HELP.match(line):
                self._remarks.append(line)

    def started(self) -> None:
        """Pass on the errors held back: the server came up in spite of them."""
        self._starting = False
        for message in self._errors:
            _LOGGER.error(message)

    def failure(self) -> str:
        """Why the server did not start, as one line."""
        failures = filter(None, map(_LOAD_FAILURE.search, self._errors))
        models = {failure["model"]: one_line(failure["reason"]) for failure in failures}
        if models:
            return "; ".join(f"model '{name}': {reason}" for name, reason in models.items())
        errors = [one_line(_MARK.sub("", message)) for message in self._errors]
        return "; ".join(errors or self._remarks) or "tritonserver gave no reason"

    def _hold(self, line: str, *, new: bool) -> None:
        if new or not self._errors:
            self._errors.append(line)
        else:
            self._errors[-1] += f"\n{line}"


def one_line(message: str) -> str:
    """The line of an error that matters: TorchScript puts its cause last, all others first."""
    lines = [line.strip().strip('"') for line in message.splitlines() if line.strip(' "')]
    if not lines:
        return message
    return lines[-1] if "Traceback of TorchScript" in message else lines[0]
