"""Where time goes inside Triton: its own statistics, between two moments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from completelook.contract import BACKBONE, ENSEMBLES, PRODUCT_HEAD, SCENE_HEAD
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

_PHASES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
_TIMEOUT_S = 10.0


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


def read_counters(client: InferenceServerClient) -> dict[str, Any] | None:
    """Triton's counters since its start, by model; None of a server that does not tell them."""
    try:
        answer = client.get_inference_statistics(client_timeout=_TIMEOUT_S)
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
