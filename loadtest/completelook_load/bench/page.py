"""docs/benchmarks.md: of each machine its ratios first, then every figure they were taken from."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from completelook.files import write_text
from completelook_build.report import made_by, markdown_table, replace_blocks, stale_note

from completelook_load.bench.contenders import (
    EAGER,
    INDEX,
    SERVED,
    TORCHSCRIPT_FP16,
    Figure,
    at_batch,
    best,
    light,
    p50_of,
    p95_of,
    ratio,
    throughput,
)
from completelook_load.bench.machine import Machine, slug
from completelook_load.bench.sample import OTHERS, Sample
from completelook_load.bench.targets import Target, judge

PAGE = Path("docs/benchmarks.md")
FIGURES = Path("docs/benchmarks")
# What decides the figures: what is measured and how, and the server's backend, which it loads.
BENCH_MODULES = (
    *(
        f"completelook_load.bench.{name}"
        for name in ("apps", "app_server", "bare", "models", "served")
    ),
    *(
        f"completelook.server.pytorch_backend.{name}"
        for name in ("model", "fusion", "threads", "cores")
    ),
)
_BASE = at_batch(EAGER, 1)
_NO_GPU = "No NVIDIA GPU has run this benchmark yet: none was there.\n"


@dataclass(frozen=True)
class Benchmark:
    """A run on one machine."""

    machine: Machine
    # Of one image, and what the GPU reaches in a second; None without a GPU.
    operations: Mapping[str, float] | None
    rounds: Mapping[str, list[Sample]]
    made_by: Mapping[str, str] = field(default_factory=lambda: made_by(*BENCH_MODULES))

    @classmethod
    def read(cls, path: Path) -> "Benchmark":
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rounds = {
            name: [Sample(**sample) for sample in samples]
            for name, samples in content["rounds"].items()
        }
        return cls(content["machine"], content["operations"], rounds, content["made_by"])

    def write(self, folder: Path) -> None:
        """Keep the run under its machine's name, in place of an earlier one."""
        text = json.dumps(asdict(self), indent=1, default=float) + "\n"
        write_text(folder / f"{slug(self.machine)}.json", text)


def write_page(page: Path, figures: Path) -> None:
    """Fill the page's block with every machine's figures; the text around it stays.

    Raises DataError where the page lacks the block.
    """
    benchmarks = [Benchmark.read(path) for path in sorted(figures.glob("*.json"))]
    parts = ["\n".join(_lines(benchmark)) + "\n" for benchmark in benchmarks]
    if all(benchmark.machine["GPU"] == "none" for benchmark in benchmarks):
        parts.append(_NO_GPU)
    blocks = {"machines": "\n".join(parts)}
    write_text(page, replace_blocks(page.read_text(encoding="utf-8"), blocks))


def _lines(benchmark: Benchmark) -> Iterator[str]:
    machine, rounds = benchmark.machine, benchmark.rounds
    yield f"## {machine['CPU'] if machine['GPU'] == 'none' else machine['GPU']}"
    yield ""
    stale = stale_note({"made_by": benchmark.made_by}, *BENCH_MODULES, command="make bench")
    yield f"{stale}{'; '.join(f'{name}: {value}' for name, value in machine.items())}."
    yield ""
    yield markdown_table(("ratio", "found", "wanted", ""), map(_target_cells, judge(rounds)))
    if benchmark.operations:
        yield _share_of_peak(rounds, benchmark.operations)
        yield ""
    yield from _cost_lines(rounds)
    columns = ("", "images/s", f"/ {_BASE}", "p50 ms", "p95 ms", "failed")
    yield markdown_table(columns, (_cells(rounds, name) for name in rounds)).rstrip()


def _target_cells(target: Target) -> list[str]:
    wanted = f"{'at most' if target.is_ceiling else 'at least'} {target.wanted:.2f}"
    return [target.text, _ratio(target.found), wanted, "holds" if target.held else "MISSED"]


def _cells(rounds: Mapping[str, list[Sample]], name: str) -> list[str]:
    samples = rounds[name]
    rate = throughput(samples)
    timed = samples[0].p50_s is not None
    quantiles = [
        f"{Figure.of([value(sample) for sample in samples]).value * 1000:.0f}" if timed else "-"
        for value in (p50_of, p95_of)
    ]
    failed = str(sum(sample.failures for sample in samples))
    spread = f"{rate.value:.1f} ({rate.low:.1f} to {rate.high:.1f})"
    return [name, spread, f"{ratio(rounds, name, _BASE).value:.2f}", *quantiles, failed]


def _cost_lines(rounds: Mapping[str, list[Sample]]) -> Iterator[str]:
    """Where the processor's time goes: what bounds the rate, however well the rest is arranged."""
    costs = {
        name: {
            part: median(sample.spent_s.get(part, 0.0) for sample in samples)
            for part in samples[0].spent_s
        }
        for name, samples in rounds.items()
        if samples[0].spent_s and name.removeprefix(light("")).startswith((SERVED, INDEX))
    }
    if not costs:
        return
    yield "What an image costs, in milliseconds of a core:"
    yield ""
    parts = [part for part in dict.fromkeys(chain(*costs.values())) if part != OTHERS]
    rows = (
        (name, *(f"{1000 * each_s:.2f}" for each_s in (*wanted, sum(wanted))))
        for name, cost in costs.items()
        for wanted in [[cost.get(part, 0.0) for part in parts]]
    )
    yield markdown_table(("", *parts, "together"), rows)


def _ratio(figure: Figure) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def _share_of_peak(rounds: Mapping[str, list[Sample]], operations: Mapping[str, float]) -> str:
    name = best(rounds, [name for name in rounds if name.startswith(TORCHSCRIPT_FP16)])
    reached = throughput(rounds[name]).value * operations["per_image"]
    share = reached / operations["gpu_per_s"]
    return (
        f"{name} computes {reached / 1e12:.0f} TFLOP/s, {share:.2f} of the "
        f"{operations['gpu_per_s'] / 1e12:.0f} that large FP16 matrix products reach here."
    )
