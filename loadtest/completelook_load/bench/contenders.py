"""The contenders by name, measured in turn, round after round, and ratios within each round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from completelook_build.console import say

from completelook_load.bench.sample import Sample

EAGER = "eager FP32"
TORCHSCRIPT_FP32 = "TorchScript FP32"
TORCHSCRIPT_BF16 = "TorchScript BF16"
FUSED_BF16 = "TorchScript BF16, fused as Triton's stand-in does"
TORCHSCRIPT_FP16 = "TorchScript FP16"
ONNX_RUNTIME = "ONNX Runtime FP32"
OPENVINO_FP32 = "OpenVINO FP32"
OPENVINO_BF16 = "OpenVINO BF16"
SERVED = "Triton"
PRODUCTS_SERVED = "Triton, products"
LITSERVE = "LitServe"
LITSERVE_TUNED = "LitServe in the environment of our server"
FASTAPI = "FastAPI"
INDEX = "completelook index"
LIGHT = "EfficientNet-Lite0"

Contenders = Mapping[str, Callable[[], Sample]]
Rounds = Mapping[str, Sequence[Sample]]


def light(name: str) -> str:
    """What is measured of the light backbone as well."""
    return f"{LIGHT}: {name}"


def at_batch(model: str, batch_size: int | str) -> str:
    """A bare model called with so many images at once."""
    return f"{model}, batch {batch_size}"


def in_flight(server: str, requests: int) -> str:
    """A server with so many requests of one image in flight."""
    return f"{server}, {requests} in flight"


def in_bursts(server: str, requests: int) -> str:
    """A server that so many requests of one image reach together, and none while they wait."""
    return f"{server}, bursts of {requests}"


@dataclass(frozen=True)
class Figure:
    """The median of some rounds, and how far they spread."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        return cls(median(values), min(values), max(values))


def measure(contenders: Contenders, rounds: int) -> dict[str, list[Sample]]:
    """Measure every contender once a round, every other round in the opposite order.

    So that a machine that gets slower or faster does it to all of them.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)[:: 1 if number % 2 == 0 else -1]
        for name in names:
            sample = contenders[name]()
            samples[name].append(sample)
            failed = f", {sample.failures} failed" if sample.failures else ""
            said = f"round {number + 1} of {rounds}: {name}"
            say(f"{said}: {sample.images_per_s:.2f} images/s{failed}")
    return samples


def rate_of(sample: Sample) -> float:
    """Images a second."""
    return sample.images_per_s


def p50_of(sample: Sample) -> float:
    """Half of the answers took no longer, in seconds."""
    assert sample.p50_s is not None
    return sample.p50_s


def p95_of(sample: Sample) -> float:
    """95 of 100 answers took no longer, in seconds."""
    assert sample.p95_s is not None
    return sample.p95_s


def throughput(samples: Sequence[Sample]) -> Figure:
    """Images a second."""
    return Figure.of([rate_of(sample) for sample in samples])


def best(rounds: Rounds, names: Sequence[str]) -> str:
    """The one of some contenders with the highest throughput."""
    return max(names, key=lambda name: throughput(rounds[name]).value)


def ratio(
    rounds: Rounds, one: str, other: str, value: Callable[[Sample], float] = rate_of
) -> Figure:
    """One contender's value over the other's, round by round."""
    pairs = zip(rounds[one], rounds[other], strict=True)
    return Figure.of([value(first) / value(second) for first, second in pairs])
