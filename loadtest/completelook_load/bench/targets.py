"""What the served model must hold against bare models and other servers, as ratios of one run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from completelook_load.bench.contenders import (
    EAGER,
    INDEX,
    LITSERVE,
    OPENVINO_BF16,
    PRODUCTS_SERVED,
    SERVED,
    TORCHSCRIPT_BF16,
    Figure,
    Rounds,
    at_batch,
    best,
    in_bursts,
    in_flight,
    light,
    p50_of,
    p95_of,
    ratio,
)
from completelook_load.bench.sample import Sample

_BUSY = 16


@dataclass(frozen=True)
class Target:
    """A ratio and its bound: a floor, or where less is better a ceiling."""

    text: str
    wanted: float
    is_ceiling: bool
    found: Figure

    @property
    def held(self) -> bool:
        if self.is_ceiling:
            return self.found.value <= self.wanted
        return self.found.value >= self.wanted


def judge(rounds: Rounds) -> list[Target]:
    """Every target whose contenders were measured."""
    return list(_targets(rounds))


def _targets(rounds: Rounds) -> Iterator[Target]:
    served, alone = in_flight(SERVED, _BUSY), in_flight(SERVED, 1)
    bare = _best_batch(rounds, TORCHSCRIPT_BF16)
    if bare:
        yield _floor(rounds, served, bare, 0.9)
    if at_batch(EAGER, 1) in rounds:
        yield _floor(rounds, served, at_batch(EAGER, 1), 2.0)
    openvino = _best_batch(rounds, OPENVINO_BF16)
    if openvino:
        yield _floor(rounds, served, openvino, 0.8)
    if in_flight(LITSERVE, _BUSY) in rounds:
        yield _floor(rounds, served, in_flight(LITSERVE, _BUSY), 1.15)
        yield _ceiling(rounds, served, in_flight(LITSERVE, _BUSY), 1.0, "p95", p95_of)
    if INDEX in rounds:
        yield _floor(rounds, INDEX, in_flight(PRODUCTS_SERVED, _BUSY), 0.9)
    if at_batch(TORCHSCRIPT_BF16, 1) in rounds:
        yield _ceiling(rounds, alone, at_batch(TORCHSCRIPT_BF16, 1), 1.1, "p50", p50_of)
    if in_bursts(SERVED, _BUSY) in rounds:
        yield _ceiling(rounds, in_bursts(SERVED, _BUSY), served, 1.5, "p95", p95_of)
    if light(served) in rounds:
        yield from _light_targets(rounds)


def _light_targets(rounds: Rounds) -> Iterator[Target]:
    """What a tenth of the arithmetic must be worth once it is served."""
    served, alone = light(in_flight(SERVED, _BUSY)), light(in_flight(SERVED, 1))
    yield _floor(rounds, served, in_flight(SERVED, _BUSY), 5.0)
    bare, single = _best_batch(rounds, light(TORCHSCRIPT_BF16)), at_batch(TORCHSCRIPT_BF16, 1)
    if bare:
        yield _floor(rounds, served, bare, 0.8)
        yield _ceiling(rounds, alone, light(single), 1.4, "p50", p50_of)
    together = light(in_bursts(SERVED, _BUSY))
    if together in rounds:
        yield _ceiling(rounds, together, served, 1.5, "p95", p95_of)
    if light(INDEX) in rounds:
        yield _floor(rounds, light(INDEX), INDEX, 4.0)


def _best_batch(rounds: Rounds, model: str) -> str | None:
    names = [name for name in rounds if name.startswith(at_batch(model, ""))]
    return best(rounds, names) if names else None


def _floor(rounds: Rounds, one: str, other: str, wanted: float) -> Target:
    return Target(f"images/s: {one} / {other}", wanted, False, ratio(rounds, one, other))


def _ceiling(
    rounds: Rounds,
    one: str,
    other: str,
    wanted: float,
    quantile: str,
    value: Callable[[Sample], float],
) -> Target:
    return Target(f"{quantile}: {one} / {other}", wanted, True, ratio(rounds, one, other, value))
