"""Networks on a CPU as oneDNN runs them fastest: a convolution and what follows is one step.

libtorch brings the weights of every convolution into oneDNN's layout on every call, asks oneDNN
for its code again, and goes over each result once more for a ReLU or ReLU6 and once for an
addition. torch's oneDNN fusion does all of it once, for one size of the batch and one number of
threads. What it compiles cannot be saved in a TorchScript file, so it is made when a model is
loaded.
"""

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Other batches go through in parts. A CPU gains nothing from larger ones.
SIZES = (4, 1)
EXAMPLE_BATCH = sum(SIZES)
# The first looks at all tensors, the second compiles, the third lays the weights out.
_RUNS = 3
# Of an answer's largest number: what is fused is not rounded in between.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 5e-2}

Module = Callable[..., Any]


def fused_or_as_saved(
    module: torch.jit.ScriptModule,
    example: Sequence[Tensor],
    threads: Collection[int],
    warn: Callable[[str], None],
) -> Module:
    """The module fused where that works, as it was saved elsewhere; `warn` is told why not.

    Any failure counts: what torch fuses, and how well, is another thing in every version.
    """
    try:
        return fuse(module, example, threads) or module
    except Exception as exc:
        reason = (str(exc).strip().splitlines() or ["no reason given"])[-1]
        warn(f"runs as it was saved: {type(exc).__name__}: {reason}")
        return module


def fuse(
    module: torch.jit.ScriptModule, example: Sequence[Tensor], threads: Collection[int]
) -> "Fused | None":
    """A function that answers as the module does, None where there is nothing to fuse.

    It takes any batch of what the example is a batch of, and runs on the largest of some numbers
    of threads that torch is set to. Results differ by rounding.

    Raises RuntimeError where they differ by more, and what torch raises.
    """
    if not _fits(module):
        return None
    sizes = [size for size in SIZES if size <= len(example[0])]
    before = torch.get_num_threads()
    try:
        compiled = {
            (size, count): _compiled(module, [each[:size] for each in example], count)
            for count in threads
            for size in sizes
        }
    finally:
        torch.set_num_threads(before)
    fused = Fused(sizes, sorted(threads), compiled)
    rounding = max(_ROUNDING[kind] for kind in _kinds(module))
    for size in range(1, len(example[0]) + 1):
        part = [each[:size] for each in example]
        _require_same(fused(*part), module(*part), rounding)
    return fused


@dataclass(frozen=True)
class Fused:
    """A module compiled for some sizes of a batch and some numbers of threads."""

    sizes: Sequence[int]  # the largest first
    threads: Sequence[int]
    compiled: Mapping[tuple[int, int], torch.jit.ScriptModule]

    def __call__(self, *inputs: Tensor) -> Any:
        usable = [count for count in self.threads if count <= torch.get_num_threads()]
        count = usable[-1] if usable else self.threads[0]
        parts = self._parts(len(inputs[0]))
        if len(parts) == 1:
            return self.compiled[parts[0], count](*inputs)
        split = zip(*(each.split(parts) for each in inputs), strict=True)
        return _joined([self.compiled[len(part[0]), count](*part) for part in split])

    def _parts(self, batch: int) -> list[int]:
        parts = []
        for size in self.sizes:
            parts += [size] * (batch // size)
            batch %= size
        return parts


def _fits(module: torch.jit.ScriptModule) -> bool:
    """Whether there are convolutions, of a type that oneDNN has fast code for on this machine."""
    if module.training or not torch.backends.mkldnn.is_available():
        return False
    supported = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        supported.add(torch.bfloat16)
    kinds = _kinds(module)
    return bool(kinds) and kinds <= supported


def _kinds(module: torch.jit.ScriptModule) -> set[torch.dtype]:
    """The types of the convolutions' weights."""
    return {parameter.dtype for parameter in module.parameters() if parameter.dim() == 4}


def _compiled(
    module: torch.jit.ScriptModule, inputs: Sequence[Tensor], threads: int
) -> torch.jit.ScriptModule:
    """The module for inputs of these sizes; frozen, since fusing takes weights for constants."""
    torch.set_num_threads(threads)
    with _fusing():
        frozen: torch.jit.ScriptModule = torch.jit.freeze(module)
        if next(frozen.graph.inputs()).uses():
            raise RuntimeError("it changes while it runs")
        for _ in range(_RUNS):
            frozen(*inputs)
    return frozen


@contextmanager
def _fusing() -> Iterator[None]:
    """Have what is compiled meanwhile fused: a setting of the whole process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
        torch.jit.enable_onednn_fusion(True)
        try:
            yield
        finally:
            torch.jit.enable_onednn_fusion(False)


def _joined(answers: Sequence[Any]) -> Any:
    if isinstance(answers[0], tuple):
        return tuple(torch.cat(each) for each in zip(*answers, strict=True))
    return torch.cat([*answers])


def _require_same(answer: Any, expected: Any, rounding: float) -> None:
    answers = answer if isinstance(answer, tuple) else (answer,)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    for one, other in zip(answers, wanted, strict=True):
        if not _are_same(one, other, rounding):
            raise RuntimeError("a fused one answers otherwise")


def _are_same(one: Tensor, other: Tensor, rounding: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    allowed = rounding * float(other.abs().max()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=0.0, atol=allowed, equal_nan=True)
