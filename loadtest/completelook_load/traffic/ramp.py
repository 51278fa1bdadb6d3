"""The ramp: rising arrival rates up to the knee and beyond, twice the knee, and the time after."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import gevent
import numpy as np
from completelook.errors import ServerError
from completelook_build.console import say
from gevent.pool import Group

from completelook_load.traffic.request import Outcome
from completelook_load.traffic.schedule import arrival_times, keep_in_flight, send_on_time
from completelook_load.traffic.stage import Stage, stage_from_json, summarize, times_between

# Shares of what the server answers with many requests in flight.
_SHARES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
IN_FLIGHT = 16
OVERLOAD = 2.0
# The overload lasts as long as two stages: a queue has to fill first.
_OVERLOAD_STAGES = 2
RECOVERY_S = 10.0
_SEED = 0


class Ask(Protocol):
    """Sends one request, due at a moment or now."""

    def __call__(self, *, due_s: float | None = None, label: str) -> Outcome: ...


Counters = Mapping[str, Any] | None


@dataclass(frozen=True)
class Plan:
    """What is tried; without rates, shares of what the server turns out to answer."""

    objective_p95_s: float = 1.0
    stage_s: float = 15.0
    rates: tuple[float, ...] = ()

    @property
    def longest_s(self) -> float:
        """How long the stages and the pauses last, requests that linger left out."""
        stages = len(self.rates or _SHARES) + _OVERLOAD_STAGES + 1
        return self.stage_s * (stages + (0 if self.rates else 1)) + RECOVERY_S


@dataclass(frozen=True)
class Run:
    """What came of a plan: no overload and no recovery where there is no knee."""

    objective_p95_s: float
    capacity: float | None  # answered per second with 16 in flight; None where rates were given
    ramp: tuple[Stage, ...]
    overload: Stage | None
    recovery: Stage | None

    @property
    def knee(self) -> Stage | None:
        """The stage of the highest rate that keeps the objective without an error."""
        return find_knee(self.ramp, self.objective_p95_s)

    @property
    def stages(self) -> dict[str, Stage]:
        """Every stage by its name, in the order of time."""
        after = {"overload": self.overload, "recovery": self.recovery}
        ramp = {f"ramp {number}": stage for number, stage in enumerate(self.ramp, start=1)}
        return ramp | {name: stage for name, stage in after.items() if stage is not None}

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Run":
        fields = json.loads(text)
        after = {
            name: fields[name] and stage_from_json(fields[name])
            for name in ("overload", "recovery")
        }
        return cls(**{**fields, **after, "ramp": tuple(map(stage_from_json, fields["ramp"]))})


def keeps(stage: Stage, objective_p95_s: float) -> bool:
    """Whether every request of a stage was answered, and 95% of them in time."""
    return not stage.failures and stage.answer is not None and stage.answer.p95_s <= objective_p95_s


def find_knee(stages: Sequence[Stage], objective_p95_s: float) -> Stage | None:
    """The stage of the highest rate that keeps the objective, None where none does."""
    keeping = [stage for stage in stages if keeps(stage, objective_p95_s)]
    return max(keeping, key=lambda stage: stage.rate, default=None)


def run_ramp(plan: Plan, ask: Ask, read_counters: Callable[[], Counters]) -> Run:
    """Run a plan's stages one after the other, and say how each went.

    Raises ServerError where the server answers nothing at all.
    """
    capacity = None if plan.rates else _capacity(ask, plan.stage_s)
    rates = plan.rates or tuple(share * (capacity or 0.0) for share in _SHARES)
    random = np.random.default_rng(_SEED)

    def stage(rate: float, duration_s: float) -> Stage:
        return _run_stage(rate, duration_s, ask, read_counters, random)

    ramp = tuple(stage(rate, plan.stage_s) for rate in sorted(rates))
    knee = find_knee(ramp, plan.objective_p95_s)
    if knee is None:
        return Run(plan.objective_p95_s, capacity, ramp, None, None)
    say(f"twice the knee of {knee.rate:.1f}/s:")
    overload = stage(OVERLOAD * knee.rate, _OVERLOAD_STAGES * plan.stage_s)
    gevent.sleep(max(0.0, RECOVERY_S - overload.drain_s))
    say(f"{RECOVERY_S:g} s after that load's end:")
    return Run(plan.objective_p95_s, capacity, ramp, overload, stage(ramp[0].rate, plan.stage_s))


def _capacity(ask: Ask, duration_s: float) -> float:
    outcomes: list[Outcome] = []
    started_s = time.perf_counter()
    keep_in_flight(IN_FLIGHT, duration_s, lambda: outcomes.append(ask(label="in flight")))
    failures = [each.failure for each in outcomes if each.failure]
    answered = len(outcomes) - len(failures)
    if not answered:
        raise ServerError(f"the server answers nothing with {IN_FLIGHT} in flight: {failures[0]}")
    capacity = answered / (time.perf_counter() - started_s)
    say(f"{IN_FLIGHT} in flight: {capacity:.1f} answered/s")
    return capacity


def _run_stage(
    rate: float,
    duration_s: float,
    ask: Ask,
    read_counters: Callable[[], Counters],
    random: np.random.Generator,
) -> Stage:
    outcomes: list[Outcome] = []
    label = f"{rate:.1f}/s"
    before, in_flight, started_s = read_counters(), Group(), time.perf_counter()
    offsets_s = arrival_times(rate, duration_s, random).tolist()
    send_on_time(
        offsets_s,
        started_s,
        lambda due_s: outcomes.append(ask(due_s=due_s, label=label)),
        in_flight,
    )
    gevent.sleep(max(0.0, started_s + duration_s - time.perf_counter()))
    in_flight.join(raise_error=True)
    models = times_between(before, read_counters())
    stage = summarize(rate, started_s, duration_s, outcomes, models)
    say(f"  {describe(stage)}")
    return stage


def describe(stage: Stage) -> str:
    """A stage as one line."""
    p95 = f", p95 {stage.answer.p95_s:.2f} s" if stage.answer else ""
    failed = sum(stage.failures.values())
    wrong = f", {failed} of {stage.arrivals} failed" if failed else ""
    return f"{stage.rate:.1f}/s offered, {stage.throughput:.1f}/s answered{p95}{wrong}"


def parse_rates(text: str) -> tuple[float, ...]:
    """The rates of a list such as `5,10,20`. Raises ValueError."""
    rates: Sequence[float] = [float(part) for part in text.split(",")]
    if not all(0 < rate < float("inf") for rate in rates):
        raise ValueError(f"{text!r} holds a rate that is not above 0")
    return tuple(rates)
