"""Several processes under torchrun: what each has to know of the others, and how they meet.

Without torchrun there is one process, the first, and nothing here does anything. Small things
travel over gloo, which needs no GPU; gradients go over NCCL where the processes have GPUs.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from completelook_build.errors import TrainingError

# Longer than one process computes anything alone, so that the others do not give up on it.
_PATIENCE = timedelta(hours=2)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started, if it did.

    Raises TrainingError where there are more processes than GPUs on this machine.
    """
    if not distributed.is_torchelastic_launched():
        yield
        return
    if torch.cuda.is_available():
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _take_gpu(number: int) -> None:
    count = torch.cuda.device_count()
    if number >= count:
        raise TrainingError(
            f"process {number + 1} of this machine has no GPU, there are {count}: "
            f"torchrun --nproc-per-node {count}"
        )
    torch.cuda.set_device(number)


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes, and decides what all of them have to agree on."""
    return rank() == 0


def device() -> torch.device:
    """Where this process computes: its GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """What `device` is called: "cpu", or the GPU's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def share(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every n-th row, n the number of processes: together the processes have each row once."""
    return rows[rank() :: world_size()]


def barrier() -> None:
    """Wait until every process is here."""
    mean(0.0)


def mean(value: float) -> float:
    """The mean of a number over the processes."""
    if world_size() == 1:
        return value
    total = torch.tensor([value], dtype=torch.float64)
    distributed.all_reduce(total)
    return float(total) / world_size()


def from_first(compute: Callable[[], float]) -> float:
    """What the first process computes, told to the others."""
    return mean(compute() * world_size() if is_first() else 0.0)


def copy_from_first(module: nn.Module) -> None:
    """Give every process the first one's weights and statistics."""
    if world_size() > 1:
        for value in module.state_dict().values():
            distributed.broadcast(value, 0)


def averaging_gradients(module: nn.Module, *, every_weight_used: bool) -> nn.Module:
    """The module, its gradients averaged over the processes where there are several.

    Each process normalises its own share of a batch, and the running statistics are the first
    one's: SyncBatchNorm knows no CPU, and a share of 32 pairs is 6,272 regions.
    """
    if world_size() == 1:
        return module
    return DistributedDataParallel(module, find_unused_parameters=not every_weight_used)
