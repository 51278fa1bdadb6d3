"""The picture of a run: what is answered, how fast, and where the time goes, by arrival rate."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from completelook_load.traffic.ramp import Run

_COLORS = ("#2f6f73", "#d08c3f", "#b5523b")
_PLACES = ("#b5523b", "#2f6f73", "#7fb0a8", "#c9b28f", "#999999")


def draw_run(run: Run, path: Path) -> None:
    """Draw throughput, latency and its parts side by side, the knee marked."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    throughput, latency, places = figure.subplots(1, 3)
    _draw_throughput(throughput, run)
    _draw_latency(latency, run)
    _draw_places(places, run)
    for axes in (throughput, latency, places):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_xlabel("arrivals per second")
    for axes in (throughput, latency):
        if run.knee:
            axes.axvline(
                run.knee.rate, color="black", linestyle=":", label=f"knee {run.knee.rate:.1f}/s"
            )
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def _draw_throughput(axes: Axes, run: Run) -> None:
    stages = [*run.ramp, *([run.overload] if run.overload else [])]
    rates = [stage.rate for stage in stages]
    axes.plot(rates, rates, color="#bbbbbb", linestyle="--", label="offered")
    axes.plot(
        rates, [stage.throughput for stage in stages], "o-", color=_COLORS[0], label="answered"
    )
    axes.set(title="Answered per second", ylim=(0, None))


def _draw_latency(axes: Axes, run: Run) -> None:
    stages = [stage for stage in [*run.ramp, run.overload] if stage and stage.answer]
    for name, color in zip(("p50", "p95", "p99"), _COLORS, strict=True):
        values = [getattr(stage.answer, f"{name}_s") for stage in stages]
        axes.plot([stage.rate for stage in stages], values, "o-", color=color, label=name)
    axes.axhline(run.objective_p95_s, color="#bbbbbb", linestyle="--", label="objective for p95")
    axes.set(title="Latency of answers, seconds", yscale="log")


def _draw_places(axes: Axes, run: Run) -> None:
    stages = [(f"{stage.rate:.1f}", stage.where_time_goes) for stage in run.ramp]
    stages = [(rate, places) for rate, places in stages if places]
    axes.set_title("Where time goes, mean seconds")
    if not stages:
        return
    rates, bottoms = [rate for rate, _ in stages], [0.0] * len(stages)
    for place, color in zip(stages[0][1], _PLACES, strict=True):
        heights = [places[place] for _, places in stages]
        axes.bar(rates, heights, bottom=bottoms, color=color, label=place)
        bottoms = [low + high for low, high in zip(bottoms, heights, strict=True)]
    axes.legend(frameon=False, fontsize=8)
