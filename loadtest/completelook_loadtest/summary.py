"""A run as a page of Markdown and as a table of numbers."""

import csv
from collections.abc import Sequence
from io import StringIO

from completelook_loadtest.exchange import MIX
from completelook_loadtest.ramp import Run
from completelook_loadtest.stage import Latency, Stage
from completelook_loadtest.verdict import Verdict

_COLUMNS = (
    "stage", "offered/s", "arrivals", "answered/s", "p50 s", "p95 s", "p99 s",
    "failed", "refused", "p95 of a refusal s", "sent late s",
)  # fmt: skip


def as_csv(run: Run) -> str:
    """Every stage as a row."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_COLUMNS, *(_row(name, stage) for name, stage in run.stages.items())])
    return text.getvalue()


def as_markdown(run: Run, verdicts: Sequence[Verdict]) -> str:
    """Objectives, stages, failures, where time goes, and the batches of the server."""
    mix = ", ".join(f"{share} {kind}" for kind, share in MIX.items())
    lines = [
        f"Of ten requests: {mix}. Arrivals wait for no answer, pictures are decoded before, and "
        "latency counts from when a request was due.",
        "",
        *(f"- {'holds' if each.held else 'MISSED'}: {each.text}" for each in verdicts),
        "",
        *_table(_COLUMNS, [_row(name, stage) for name, stage in run.stages.items()]),
        "",
        *_failures(run),
        *_places(run),
        "",
        *_models(run),
    ]
    return "\n".join(lines) + "\n"


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
    return [*_table(("stage", "times", "status and message"), rows), ""] if rows else []


def _places(run: Run) -> list[str]:
    """Mean milliseconds of an answered request, by place."""
    places = {name: stage.where_time_goes for name, stage in run.stages.items()}
    named = next(filter(None, places.values()), None)
    if named is None:
        return ["The server does not tell its statistics, so where time goes is not known."]
    rows = [
        [name, *(f"{seconds * 1000:.1f}" for seconds in shares.values())]
        for name, shares in places.items()
        if shares
    ]
    return ["Mean milliseconds of an answered request:", "", *_table(("stage", *named), rows)]


def _models(run: Run) -> list[str]:
    rows = [
        [name, model, str(times.requests), f"{times.mean_batch:.1f}", _histogram(times.batches)]
        for name, stage in run.stages.items()
        for model, times in stage.models.items()
        if times.mean_batch is not None
    ]
    columns = ("stage", "model", "requests", "mean batch", "executions by batch size")
    return _table(columns, rows) if rows else []


def _histogram(batches: dict[int, int]) -> str:
    return ", ".join(f"{size}: {count}" for size, count in batches.items())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
