"""What a tritonserver writes: passed on to `logging`, and kept while it may explain a failure."""

import logging
import re

_LOGGER = logging.getLogger("completelook.server")
_MARK = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ \d+ [\w.]+:\d+\] ")
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_LOAD_FAILURE = re.compile(r"failed to load '(?P<model>[^']+)' version \d+: (?P<reason>.+)")
# Said on every machine without a GPU, and at every stop.
_HARMLESS = (
    "CUDA driver version is insufficient",
    "CudaDriverHelper has not been initialized",
    "DCGM unable to start",
    "Failed to initialize NVML",
    "Signal (15) received",
    "no pinned memory pool",
)
# Tables, and the whole help that tritonserver writes on a wrong argument.
_FILLING = re.compile(r"[|+\s]|Usage:|.*:$|$")


class ServerLog:
    """The log of one run of a server.

    Errors are held back until the server is ready: if it never is, they are the reason, and an
    exception says it more plainly.
    """

    def __init__(self) -> None:
        self._starting = True
        self._errors: list[str] = []
        self._remarks: list[str] = []

    def add(self, line: str) -> None:
        """Take in one line, without its end."""
        mark = _MARK.match(line)
        level = _LEVELS[mark["level"]] if mark else logging.INFO
        if any(text in line for text in _HARMLESS):
            level = logging.DEBUG
        elif self._starting and level >= logging.ERROR:
            self._errors.append(line)
            level = logging.DEBUG
        elif self._starting and not mark and not _FILLING.match(line):
            self._remarks.append(line)
        _LOGGER.log(level, line)

    def started(self) -> None:
        """Pass on the errors held back: the server came up in spite of them."""
        self._starting = False
        for line in self._errors:
            _LOGGER.error(line)

    def failure(self) -> str:
        """Why the server did not start, as one line; empty when it did not say."""
        failures = filter(None, map(_LOAD_FAILURE.search, self._errors))
        models = {failure["model"]: one_line(failure["reason"]) for failure in failures}
        if models:
            return "; ".join(f"model '{name}': {reason}" for name, reason in models.items())
        errors = [one_line(_MARK.sub("", line)) for line in self._errors]
        return "; ".join(errors or self._remarks)


def one_line(message: str) -> str:
    """The line of an error that matters: TorchScript puts its cause last, all others first."""
    # Triton's log has the line breaks of a message as two characters, and adds quotes and marks.
    raw_lines = message.replace("\\n", "\n").splitlines()
    lines = [line.strip(' ";') for line in raw_lines if line.strip(' ";')]
    if not lines:
        return message
    return lines[-1] if "Traceback of TorchScript" in message else lines[0]
