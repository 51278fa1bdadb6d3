"""perf_analyzer's figures in the load test: a stand-in of a program, on PATH or not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from completelook_load.traffic import perf_analyzer
from completelook_load.traffic.perf_analyzer import ClosedLoop, Figures, measure, parse_report
from completelook_load.traffic.ramp import Run
from completelook_load.traffic.report import as_markdown
from completelook_load.traffic.request import Outcome
from completelook_load.traffic.stage import summarize

# As the program of the tritonclient 2.51.0 wheel wrote it, without an end of the last line.
HEADER = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,"
    "Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,"
    "p50 latency,p90 latency,p95 latency,p99 latency"
)
LINES = {
    1: "1,19.4377,16,2390,1,166,47906,789,4,49484,56657,60987,78133",
    4: "4,12.9579,20,88077,1,380,212129,1194,3,264559,476834,553099,717839",
    16: "16,18.1222,107,355345,1,1858,479366,4903,3,868727,1225123,1227720,1297897",
}
LOOPS = (
    ClosedLoop(1, 19.4377, 0.049484, 0.060987),
    ClosedLoop(4, 12.9579, 0.264559, 0.553099),
    ClosedLoop(16, 18.1222, 0.868727, 1.22772),
)
ABSENT = "perf_analyzer is not on PATH, so its figures are not here."

PROGRAM = f"""#!{sys.executable} -I
import json, os, pathlib, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
concurrency = int(options["--concurrency-range"].split(":")[0])
report = pathlib.Path(options["-f"])
with (pathlib.Path(__file__).parent / "asked.jsonl").open("a") as asked:
    asked.write(json.dumps(options) + "\\n")
# What it does beside or instead:
BEHAVIOUR
report.write_text({HEADER!r} + "\\n" + {LINES!r}[concurrency])
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a perf_analyzer of that behaviour on PATH; returns the file of what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(behaviour: str = "") -> Path:
        program = folder / "perf_analyzer"
        program.write_text(PROGRAM.replace("BEHAVIOUR", behaviour))
        program.chmod(0o755)
        return folder / "asked.jsonl"

    return put


def test_each_concurrency_is_measured_over_grpc_and_the_csv_is_kept(install, tmp_path) -> None:
    asked = install()
    assert measure("somewhere:8001", tmp_path) == Figures(LOOPS)
    options = [json.loads(line) for line in asked.read_text().splitlines()]
    assert [each["--concurrency-range"] for each in options] == ["1:1:1", "4:4:1", "16:16:1"]
    for each in options:
        wanted = {"-m": "embed_scene", "-i": "grpc", "-u": "somewhere:8001", "-b": "1"}
        assert wanted.items() <= each.items()
    kept = (tmp_path / "perf_analyzer.csv").read_text()
    assert kept == "\n".join([HEADER, *LINES.values()]) + "\n"
    assert parse_report(kept.splitlines()) == LOOPS


def test_without_the_program_an_earlier_csv_does_not_stay(install, tmp_path, capsys) -> None:
    del install  # an empty PATH is all that is needed of it
    (tmp_path / "perf_analyzer.csv").write_text("old")
    assert measure("somewhere:8001", tmp_path) == Figures((), ABSENT)
    assert not (tmp_path / "perf_analyzer.csv").exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        pytest.param("sys.exit('error: no\\n\\nserver  there\\n')", "server there", id="message"),
        pytest.param("sys.exit(99)", "exit status 99", id="status"),
        pytest.param("sys.exit(0)", "its CSV cannot be read: [Errno 2]", id="no csv"),
        pytest.param("report.write_text(''); sys.exit()", "concurrencies []", id="empty"),
        pytest.param("report.write_bytes(b'\\xff'); sys.exit()", "cannot be read", id="not text"),
        pytest.param("report.write_text('a,b\\n1,2'); sys.exit()", "'Concurrency'", id="columns"),
        pytest.param(
            f"report.write_text({HEADER + chr(10) + '1,19'!r}); sys.exit()", "float", id="cut off"
        ),
        pytest.param("concurrency = 4", "the concurrencies [4], expected [1]", id="other"),
    ],
)
def test_a_failure_is_one_line_and_nothing_else(
    install, tmp_path, capsys, behaviour: str, told: str
) -> None:
    install(behaviour)
    figures = measure("somewhere:8001", tmp_path)
    assert figures.loops == ()
    assert figures.missing is not None
    assert figures.missing.startswith("perf_analyzer failed with 1 in flight: ")
    assert told in figures.missing
    assert capsys.readouterr().err.splitlines()[1:] == [figures.missing]
    assert not (tmp_path / "perf_analyzer.csv").exists()


def test_what_was_measured_before_a_failure_stays(install, tmp_path) -> None:
    asked = install("if concurrency > 1: sys.exit('full')")
    assert measure("somewhere:8001", tmp_path) == Figures(
        LOOPS[:1], "perf_analyzer failed with 4 in flight: full"
    )
    assert len(asked.read_text().splitlines()) == 2  # 16 would not fare better
    assert (tmp_path / "perf_analyzer.csv").read_text() == f"{HEADER}\n{LINES[1]}\n"


def test_a_program_that_cannot_be_executed_is_a_failure(install, tmp_path) -> None:
    program = install().parent / "perf_analyzer"
    program.write_bytes(b"\x7fELF")
    assert "Exec format error" in str(measure("somewhere:8001", tmp_path).missing)


def test_a_program_that_does_not_end_is_ended(install, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(perf_analyzer, "_LONGEST_S", 0.5)
    install("time.sleep(60)")
    started_s = time.monotonic()
    assert "did not end within 0.5 s" in str(measure("somewhere:8001", tmp_path).missing)
    assert time.monotonic() - started_s < 10


def test_the_program_does_not_outlive_the_load_test(install, tmp_path) -> None:
    asked = install("(report := pathlib.Path(__file__).parent / 'pid').write_text(str(os.getpid()))"
                    "; time.sleep(60)")  # fmt: skip
    code = "import sys, pathlib; from completelook_load.traffic.perf_analyzer import measure; "
    code += "measure('somewhere:8001', pathlib.Path(sys.argv[1]))"
    loadtest = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    pid_file = asked.parent / "pid"
    try:
        wait_until(lambda: pid_file.exists() and pid_file.read_text())
    finally:
        loadtest.send_signal(signal.SIGKILL)
        loadtest.wait()
    wait_until(lambda: not is_running(int(pid_file.read_text())))


def wait_until(holds) -> None:
    end_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie that nobody has waited for yet."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def a_run(capacity: float | None) -> Run:
    stage = summarize(1.0, 0.0, 1.0, [Outcome("rank", 0.0, 0.0, 0.1)], {})
    return Run(1.0, capacity, (stage,), None, None)


def test_the_summary_puts_the_figures_beside_its_own() -> None:
    text = as_markdown(a_run(17.25), [], Figures(LOOPS))
    assert "\n| in flight | answered/s | p50 s | p95 s |\n| --- |" in text
    assert text.endswith("\n| 4 | 12.96 | 0.265 | 0.553 |\n| 16 | 18.12 | 0.869 | 1.228 |\n")
    assert "Our mix with 16 in flight: 17.25 answered/s.\n\n| in flight" in text
    assert "Our mix with" not in as_markdown(a_run(None), [], Figures(LOOPS))


def test_the_summary_says_that_the_program_was_not_there() -> None:
    text = as_markdown(a_run(None), [], Figures((), ABSENT))
    assert text.endswith(f"\n\n{ABSENT}\n")
    assert "in flight" not in text


def test_the_summary_tells_a_failure_after_what_was_measured() -> None:
    text = as_markdown(a_run(None), [], Figures(LOOPS[:1], "It failed."))
    assert text.endswith("\n| 1 | 19.44 | 0.049 | 0.061 |\n\nIt failed.\n")
