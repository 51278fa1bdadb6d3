"""A stretch of time under one arrival rate: what came of it, and where time went inside Triton."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from completelook.contract import BACKBONE, ENSEMBLES, PRODUCT_HEAD, SCENE_HEAD
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from completelook_load.traffic.request import Outcome

_PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_TIMEOUT_S = 10.0


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
class ModelTimes:
    """What one model did: counts, and sums of seconds over its requests."""

    requests: int  # that succeeded
    failed: int
    total_s: float
    queue_s: float
    input_s: float
    infer_s: float
    output_s: float
    batches: dict[int, int]  # how many executions there were, by their size

    @property
    def mean_batch(self) -> float | None:
        """Images in an execution, on average; None of an ensemble, which executes nothing."""
        executions = sum(self.batches.values())
        if not executions:
            return None
        return sum(size * count for size, count in self.batches.items()) / executions


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
        """The mean seconds of an answered request, by place."""
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


def read_counters(
    client: InferenceServerClient, headers: Mapping[str, str]
) -> dict[str, Any] | None:
    """Triton's counters since its start, by model; None of a server that does not tell them."""
    try:
        answer = client.get_inference_statistics(headers=headers, client_timeout=_TIMEOUT_S)
    except InferenceServerException:
        return None
    return {model.name: model for model in answer.model_stats}


def times_between(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> dict[str, ModelTimes]:
    """What each model did between two readings of the counters; nothing where there is none."""
    if before is None or after is None:
        return {}
    return {name: _difference(before[name], after[name]) for name in after if name in before}


def _difference(before: Any, after: Any) -> ModelTimes:
    counts, seconds = {}, {}
    for phase in _PHASES:
        first, last = getattr(before.inference_stats, phase), getattr(after.inference_stats, phase)
        counts[phase] = int(last.count - first.count)
        seconds[phase] = (last.ns - first.ns) / 1e9
    earlier, later = _executions(before), _executions(after)
    batches = {size: count - earlier.get(size, 0) for size, count in sorted(later.items())}
    return ModelTimes(
        requests=counts["success"],
        failed=counts["fail"],
        total_s=seconds["success"],
        queue_s=seconds["queue"],
        input_s=seconds["compute_input"],
        infer_s=seconds["compute_infer"],
        output_s=seconds["compute_output"],
        batches={size: count for size, count in batches.items() if count},
    )


def _executions(model: Any) -> dict[int, int]:
    return {int(batch.batch_size): int(batch.compute_infer.count) for batch in model.batch_stats}


def where_time_goes(
    models: Mapping[str, ModelTimes], client_mean_s: float | None
) -> dict[str, float]:
    """The mean seconds of a request by place, which add up to the client's mean latency.

    Nothing where the server does not tell, or answered nothing.
    """
    ensembles = [models[each.name] for each in ENSEMBLES if each.name in models]
    heads = [models[each.name] for each in (SCENE_HEAD, PRODUCT_HEAD) if each.name in models]
    requests = sum(times.requests for times in ensembles)
    if not requests or BACKBONE.name not in models or client_mean_s is None:
        return {}
    backbone = models[BACKBONE.name]
    queue_s = backbone.queue_s / requests
    backbone_s = _compute_s(backbone) / requests
    heads_s = sum(head.queue_s + _compute_s(head) for head in heads) / requests
    inside_s = sum(times.total_s for times in ensembles) / requests
    return {
        "backbone's queue": queue_s,
        "backbone": backbone_s,
        "heads": heads_s,
        "rest of the server": inside_s - queue_s - backbone_s - heads_s,
        "client and wire": client_mean_s - inside_s,
    }


def _compute_s(times: ModelTimes) -> float:
    return times.input_s + times.infer_s + times.output_s
