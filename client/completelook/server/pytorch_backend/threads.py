"""How many threads a batch gets: its instance's share of the cores, if its work is worth them."""

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from cores import Cores

# With fewer multiplications and additions for each thread, one thread more is no gain. A batch is
# of requests that came together: whoever sent them has work for the other cores.
_OPERATIONS_A_THREAD = 3e9
_OPERATIONS_A_THREAD_ALONE = 4e8


class Threads:
    """The threads of one instance of a model."""

    def __init__(self, config: Mapping[str, Any], model: str) -> None:
        """From the model's configuration, and a name that its instances share.

        Raises OSError where there is no shared memory.
        """
        parameters = config.get("parameters", {})
        fixed = int(_parameter(parameters, "INTRA_OP_THREAD_COUNT") or 0)
        if fixed <= 0 and "OMP_NUM_THREADS" in os.environ:
            fixed = torch.get_num_threads()
        self._fixed = max(fixed, 0)
        operations = _parameter(parameters, "OPERATIONS")
        self._operations = float(operations) if operations and not self._fixed else None
        self._most = torch.get_num_threads()
        self._instances = sum(group["count"] for group in config.get("instance_group", ()))
        self._cores = None if self._fixed else Cores(model, os.getpid(), self._most)

    def share(self) -> AbstractContextManager[int]:
        """A block in which a batch runs: it gives the most threads that it may have."""
        return self._cores.share() if self._cores else nullcontext(self._fixed)

    def worthwhile(self, items: int) -> int:
        """How many threads a batch is worth: of a little work each, all would wait for the last."""
        if self._operations is None:
            return sys.maxsize
        each = _OPERATIONS_A_THREAD if items > 1 else _OPERATIONS_A_THREAD_ALONE
        return max(1, round(items * self._operations / each))

    def counts(self, sizes: Iterable[int]) -> list[int]:
        """All numbers of threads that batches of some sizes may get, ascending."""
        instances = range(1, max(self._instances, 1) + 1)
        shares = [max(1, self._most // running) for running in instances]
        shares = [self._fixed] if self._fixed else shares
        return sorted({min(share, self.worthwhile(size)) for share in shares for size in sizes})


def _parameter(parameters: Mapping[str, Mapping[str, str]], name: str) -> str | None:
    return parameters[name]["string_value"] if name in parameters else None
