"""A stretch of time under one arrival rate, and what came of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from completelook_load.traffic.exchange import Outcome
from completelook_load.traffic.server_times import ModelTimes, where_time_goes


@dataclass(frozen=True)
class Latency:
    """Latencies in seconds; a quantile is one that was measured, the smallest that suffices."""

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float

    @classmethod
    def of(cls, latencies_s: Sequence[float]) -> "Latency | None":
        """None where there is no latency."""
        if not latencies_s:
            return None
        quantiles = np.quantile(latencies_s, [0.5, 0.95, 0.99], method="inverted_cdf")
        return cls(float(np.mean(latencies_s)), *map(float, quantiles))


@dataclass(frozen=True)
class Stage:
    """Arrivals at one rate, the answers, the refusals, and the server's own times meanwhile."""

    rate: float  # requests per second that were offered
    duration_s: float  # in which requests arrived
    drain_s: float  # from then until the last one ended
    arrivals: int
    answered: int
    throughput: float  # answered per second
    answer: Latency | None
    refused: int
    refusal: Latency | None
    failures: dict[str, int]  # refusals included, by gRPC status and message
    lag_s: float  # the 99th percentile of how late requests were sent
    models: dict[str, ModelTimes]  # empty where the server does not tell

    @property
    def where_time_goes(self) -> dict[str, float]:
        """The mean seconds of an answered request, by place; see `server_times`."""
        return where_time_goes(self.models, self.answer.mean_s if self.answer else None)


def summarize(
    rate: float,
    started_s: float,
    duration_s: float,
    outcomes: Sequence[Outcome],
    models: Mapping[str, ModelTimes],
) -> Stage:
    """What came of a stage's requests.

    The throughput's time ends with the last answer, so that those still waiting when the arrivals
    end count with the time that they took.
    """
    answers = [each for each in outcomes if each.failure is None]
    refusals = [each for each in outcomes if each.refused]
    end_s = started_s + duration_s
    last_answer_s = max([end_s, *(each.ended_s for each in answers)])
    lag = Latency.of([each.lag_s for each in outcomes])
    return Stage(
        rate=rate,
        duration_s=duration_s,
        drain_s=max([end_s, *(each.ended_s for each in outcomes)]) - end_s,
        arrivals=len(outcomes),
        answered=len(answers),
        throughput=len(answers) / (last_answer_s - started_s),
        answer=Latency.of([each.latency_s for each in answers]),
        refused=len(refusals),
        refusal=Latency.of([each.latency_s for each in refusals]),
        failures=dict(Counter(each.failure for each in outcomes if each.failure)),
        lag_s=lag.p99_s if lag else 0.0,
        models=dict(models),
    )


def stage_from_json(fields: Mapping[str, Any]) -> Stage:
    """The stage that `dataclasses.asdict` and JSON made of one, back."""
    latencies = {name: fields[name] and Latency(**fields[name]) for name in ("answer", "refusal")}
    models = {name: _times_from_json(times) for name, times in fields["models"].items()}
    return Stage(**{**fields, **latencies, "models": models})


def _times_from_json(fields: Mapping[str, Any]) -> ModelTimes:
    batches = {int(size): count for size, count in fields["batches"].items()}
    return ModelTimes(**{**fields, "batches": batches})
