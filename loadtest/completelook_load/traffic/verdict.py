"""What a run must hold, for a pipeline to gate on."""

from dataclasses import dataclass

from completelook_load.traffic.ramp import OVERLOAD, RECOVERY_S, Run
from completelook_load.traffic.stage import Stage

_THROUGHPUT_SHARE = 0.9
_REFUSAL_P95_S = 2.5
_NORMAL_LATENCY = 1.5


@dataclass(frozen=True)
class Verdict:
    """Whether something holds, and the figures that say so."""

    held: bool
    text: str


def judge(run: Run, min_rate: float | None) -> list[Verdict]:
    """Every objective with its figures; the overload's only where there is a knee."""
    objective = f"p95 at most {run.objective_p95_s:g} s and no error"
    if run.knee is None:
        return [
            Verdict(False, f"no rate keeps {objective}: the lowest was {run.ramp[0].rate:.1f}/s")
        ]
    wanted = "" if min_rate is None else f", wanted at least {min_rate:g}/s"
    held = min_rate is None or run.knee.rate >= min_rate
    verdicts = [Verdict(held, f"knee {run.knee.rate:.1f}/s with {objective}{wanted}")]
    if run.overload and run.recovery:
        verdicts += [_throughput(run.knee, run.overload), _refusals(run.overload)]
        verdicts.append(_recovery(run.ramp[0], run.overload, run.recovery))
    return verdicts


def _throughput(knee: Stage, overload: Stage) -> Verdict:
    share = overload.throughput / knee.throughput
    return Verdict(
        share >= _THROUGHPUT_SHARE,
        f"{OVERLOAD:g} times the knee: {overload.throughput:.1f}/s answered, {share:.2f} of the "
        f"knee's {knee.throughput:.1f}/s, wanted at least {_THROUGHPUT_SHARE:g}",
    )


def _refusals(overload: Stage) -> Verdict:
    others = sum(overload.failures.values()) - overload.refused
    if overload.refusal is None:
        return Verdict(not others, f"nothing was refused, {others} failed otherwise")
    p95_s = overload.refusal.p95_s
    return Verdict(
        p95_s < _REFUSAL_P95_S and not others,
        f"{overload.refused} of {overload.arrivals} refused, p95 of a refusal {p95_s:.3f} s, "
        f"wanted below {_REFUSAL_P95_S:g} s; {others} failed otherwise, wanted none",
    )


def _recovery(normal: Stage, overload: Stage, recovery: Stage) -> Verdict:
    if not normal.answer or not recovery.answer:
        return Verdict(False, f"nothing was answered at {normal.rate:.1f}/s")
    ratio = recovery.answer.p50_s / normal.answer.p50_s
    held = ratio <= _NORMAL_LATENCY and not recovery.failures and overload.drain_s <= RECOVERY_S
    return Verdict(
        held,
        f"{RECOVERY_S:g} s after the load: p50 {ratio:.2f} times what it was before, wanted "
        f"at most {_NORMAL_LATENCY:g}; {sum(recovery.failures.values())} failed, wanted none",
    )
