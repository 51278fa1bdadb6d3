"""Load tests: schedule, knee, verdicts, and a whole run against the fake server."""

import json
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from completelook_load.traffic.ramp import Run, find_knee
from completelook_load.traffic.request import Outcome
from completelook_load.traffic.schedule import arrival_times
from completelook_load.traffic.stage import Latency, Stage, summarize
from completelook_load.traffic.verdict import judge
from fakes import FakeTriton, picture

pytestmark = pytest.mark.slow


def outcomes(latencies: list[float], failures: int = 0) -> list[Outcome]:
    good = [Outcome("rank", 0.0, 0.0, latency) for latency in latencies]
    return good + [Outcome("rank", 0.0, 0.0, 0.01, "UNAVAILABLE: full", True)] * failures


def stage(rate: float, latency: float, failures: int = 0) -> Stage:
    return summarize(rate, 0.0, 10.0, outcomes([latency] * round(10 * rate), failures), {})


def test_a_schedule_offers_exactly_its_rate_within_its_time() -> None:
    times = arrival_times(7.3, 10.0, np.random.default_rng(0))
    assert len(times) == 73
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    assert times[-1] < 10


def test_latency_counts_from_when_a_request_was_due() -> None:
    late = Outcome("rank", due_s=1.0, sent_s=4.0, ended_s=4.5)
    assert (late.latency_s, late.lag_s) == (3.5, 3.0)


def test_a_quantile_is_the_smallest_measured_latency_that_suffices() -> None:
    latencies = np.random.default_rng(1).random(57).tolist()
    found = Latency.of(latencies)
    assert found is not None
    for share, quantile in ((0.5, found.p50_s), (0.95, found.p95_s), (0.99, found.p99_s)):
        enough = [x for x in latencies if sum(y <= x for y in latencies) >= share * len(latencies)]
        assert quantile == min(enough)


def test_the_throughput_ends_with_the_last_answer() -> None:
    waited = summarize(2.0, 0.0, 10.0, outcomes([1.0] * 19 + [20.0]), {})
    assert waited.throughput == 1.0
    assert waited.drain_s == 10.0


def test_the_knee_is_the_highest_rate_in_time_without_an_error() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        stages = [
            stage(rate, float(random.choice([0.1, 3.0])), int(random.integers(2)))
            for rate in range(1, 7)
        ]
        best = None
        for each in stages:
            if not each.failures and each.answer and each.answer.p95_s <= 1.0:
                best = each
        assert find_knee(stages, 1.0) is best


@pytest.mark.parametrize(
    ("overload", "recovery", "min_rate", "held"),
    [
        pytest.param(stage(6, 0.5), stage(1, 0.1), None, [True] * 4, id="all"),
        pytest.param(stage(6, 0.5), stage(1, 0.1), 9, [False, True, True, True], id="rate"),
        pytest.param(stage(2, 0.5), stage(1, 0.1), 3, [True, False, True, True], id="throughput"),
        pytest.param(stage(6, 0.5), stage(1, 0.2), 3, [True, True, True, False], id="recovery"),
        pytest.param(
            summarize(6, 0, 10, [Outcome("rank", 0, 0, 3.0, "UNAVAILABLE: full", True)] * 3
                      + outcomes([0.1] * 60), {}),
            stage(1, 0.1), 3, [True, True, False, True], id="slow refusals",
        ),
    ],
)  # fmt: skip
def test_each_objective_is_judged(overload, recovery, min_rate, held) -> None:
    run = Run(1.0, None, (stage(1, 0.1), stage(3, 0.1)), overload, recovery)
    assert [verdict.held for verdict in judge(run, min_rate)] == held
    assert Run.from_json(run.as_json()) == run


def loadtest(fake: FakeTriton, folder: Path, catalog: Path, *options: str):
    (folder / "pictures").mkdir()
    for red in range(3):
        picture(red, (30 + 10 * red, 40)).save(folder / "pictures" / f"{red}.png")
    command = [sys.executable, "-m", "completelook_load.traffic", "--server", fake.address]
    command += ["--pictures", str(folder / "pictures"), "--catalog", str(catalog), *options]
    command += ["--reports", str(folder / "reports"), "--rates", "20", "--stage-s", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_run_writes_its_reports(triton: FakeTriton, tmp_path: Path, catalog_path: Path) -> None:
    done = loadtest(triton, tmp_path, catalog_path, "--objective-p95-s", "60")
    held, missed = done.stdout.count("holds: "), done.stdout.count("MISSED: ")
    # A busy machine may well miss an objective.
    assert held + missed == 4, done.stderr
    assert done.returncode == (missed > 0)
    reports = tmp_path / "reports"
    run = Run.from_json((reports / "run.json").read_text())
    assert [each.answered for each in run.stages.values()] == [20, 80, 20]
    assert (reports / "ramp.png").read_bytes().startswith(b"\x89PNG")
    assert "20.0/s" in (reports / "locust.html").read_text()
    assert "does not tell its statistics" in (reports / "summary.md").read_text()


class FullTriton(FakeTriton):
    """Answers one request of each kind, and refuses all after them."""

    def ModelInfer(self, request, context):  # noqa: N802
        if self.calls["ModelInfer"] == 3:
            self.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        return super().ModelInfer(request, context)


def test_a_missed_objective_and_its_failures_are_told(tmp_path: Path, catalog_path: Path) -> None:
    with FullTriton().running() as triton:
        done = loadtest(triton, tmp_path, catalog_path)
    assert done.returncode == 1
    assert "MISSED: no rate keeps p95 at most 1 s and no error" in done.stdout
    (only,) = json.loads((tmp_path / "reports" / "run.json").read_text())["ramp"]
    assert only["failures"] == {"UNAVAILABLE: Exceeds maximum queue size": 20}
    assert triton.calls["ModelInfer"] == 23  # none was tried again
    assert "UNAVAILABLE: Exceeds maximum queue size" in (
        tmp_path / "reports" / "locust_failures.csv"
    ).read_text()  # fmt: skip


def test_a_dead_server_is_one_line(tmp_path: Path, catalog_path: Path) -> None:
    done = loadtest(FakeTriton(address="127.0.0.1:1"), tmp_path, catalog_path)
    assert done.returncode == 1
    assert "error: nothing answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
