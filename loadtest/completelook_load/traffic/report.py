"""A run as a page of Markdown, as a table of numbers and as a picture."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from completelook_build.report import markdown_table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from completelook_load.traffic.perf_analyzer import WINDOW_S, WINDOWS, Figures
from completelook_load.traffic.ramp import IN_FLIGHT, Run
from completelook_load.traffic.request import MIX
from completelook_load.traffic.stage import Latency, Stage
from completelook_load.traffic.verdict import Verdict

_COLUMNS = (
    "stage", "offered/s", "arrivals", "answered/s", "p50 s", "p95 s", "p99 s",
    "failed", "refused", "p95 of a refusal s", "sent late s",
)  # fmt: skip
_COLORS = ("#2f6f73", "#d08c3f", "#b5523b")
_PLACES = ("#b5523b", "#2f6f73", "#7fb0a8", "#c9b28f", "#999999")


def as_csv(run: Run) -> str:
    """Every stage as a row."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_COLUMNS, *(_row(name, stage) for name, stage in run.stages.items())])
    return text.getvalue()


def as_markdown(run: Run, verdicts: Sequence[Verdict], figures: Figures) -> str:
    """Objectives, stages, failures, where time goes, server's batches, perf_analyzer's figures."""
    mix = ", ".join(f"{share} {kind}" for kind, share in MIX.items())
    blocks = [
        f"Of ten requests: {mix}. Arrivals wait for no answer, pictures are decoded before, and "
        "latency counts from when a request was due.\n",
        "".join(f"- {'holds' if each.held else 'MISSED'}: {each.text}\n" for each in verdicts),
        markdown_table(_COLUMNS, [_row(name, stage) for name, stage in run.stages.items()]),
        *_failures(run),
        *_places(run),
        *_models(run),
        *_closed_loops(run, figures),
    ]
    return "\n".join(blocks)


def _row(name: str, stage: Stage) -> list[str]:
    return [
        name,
        f"{stage.rate:.2f}",
        str(stage.arrivals),
        f"{stage.throughput:.2f}",
        *_quantiles(stage.answer),
        str(sum(stage.failures.values())),
        str(stage.refused),
        _quantiles(stage.refusal)[1],
        f"{stage.lag_s:.3f}",
    ]


def _quantiles(latency: Latency | None) -> list[str]:
    if latency is None:
        return ["-"] * 3
    return [f"{value:.3f}" for value in (latency.p50_s, latency.p95_s, latency.p99_s)]


def _failures(run: Run) -> list[str]:
    rows = [
        [name, str(count), text]
        for name, stage in run.stages.items()
        for text, count in stage.failures.items()
    ]
    columns = ("stage", "times", "status and message")
    return [markdown_table(columns, rows, alignment="lrl")] if rows else []


def _places(run: Run) -> list[str]:
    """Mean milliseconds of an answered request, by place."""
    places = {name: stage.where_time_goes for name, stage in run.stages.items()}
    named = next(filter(None, places.values()), None)
    if named is None:
        return ["The server does not tell its statistics, so where time goes is not known.\n"]
    rows = [
        [name, *(f"{seconds * 1000:.1f}" for seconds in shares.values())]
        for name, shares in places.items()
        if shares
    ]
    return ["Mean milliseconds of an answered request:\n", markdown_table(("stage", *named), rows)]


def _models(run: Run) -> list[str]:
    rows = [
        [name, model, str(times.requests), f"{times.mean_batch:.1f}", _histogram(times.batches)]
        for name, stage in run.stages.items()
        for model, times in stage.models.items()
        if times.mean_batch is not None
    ]
    columns = ("stage", "model", "requests", "mean batch", "executions by batch size")
    return [markdown_table(columns, rows, alignment="llrrl")] if rows else []


def _closed_loops(run: Run, figures: Figures) -> list[str]:
    """What perf_analyzer measured, and why that is not everything where it is not."""
    missing = [f"{figures.missing}\n"] if figures.missing else []
    if not figures.loops:
        return missing
    columns = ("in flight", "answered/s", "p50 s", "p95 s")
    rows = [
        [str(each.concurrency), f"{each.throughput:.2f}", f"{each.p50_s:.3f}", f"{each.p95_s:.3f}"]
        for each in figures.loops
    ]
    return [_about_closed_loops(run), markdown_table(columns, rows), *missing]


def _about_closed_loops(run: Run) -> str:
    about = (
        "NVIDIA's perf_analyzer on embed_scene alone: one random picture over and over, so many "
        f"in flight for {WINDOWS} windows of {WINDOW_S:g} s, latency from when a request was sent."
        "\n"
    )
    if run.capacity is None:
        return about
    return f"{about}Our mix with {IN_FLIGHT} in flight: {run.capacity:.2f} answered/s.\n"


def _histogram(batches: dict[int, int]) -> str:
    return ", ".join(f"{size}: {count}" for size, count in batches.items())


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
