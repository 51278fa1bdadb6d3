"""The knee: how much a server takes before its users notice."""

from collections.abc import Sequence

from completelook_load.traffic.stage import Stage


def keeps(stage: Stage, objective_p95_s: float) -> bool:
    """Whether every request of a stage was answered, and 95% of them in time."""
    return not stage.failures and stage.answer is not None and stage.answer.p95_s <= objective_p95_s


def find_knee(stages: Sequence[Stage], objective_p95_s: float) -> Stage | None:
    """The stage of the highest rate that keeps the objective, None where none does."""
    keeping = [stage for stage in stages if keeps(stage, objective_p95_s)]
    return max(keeping, key=lambda stage: stage.rate, default=None)
