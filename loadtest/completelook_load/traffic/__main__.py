"""`python -m completelook_load.traffic`: a ramp, its report, and whether the objectives are met."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from completelook.errors import CompleteLookError, ServerError, exit_with
from completelook.files import write_text
from completelook.server import EmbeddedServer, bound_to_this_process
from completelook_build.console import say

from completelook_load.inputs import CATALOG, PICTURES, REPORTS
from completelook_load.traffic.perf_analyzer import Figures, measure
from completelook_load.traffic.ramp import Plan, Run, parse_rates
from completelook_load.traffic.report import as_csv, as_markdown, draw_run
from completelook_load.traffic.request import TIMEOUT_S
from completelook_load.traffic.verdict import judge

_LOCUSTFILE = Path(__file__).parents[2] / "locustfile.py"
# Requests that linger, after each stage, and locust's own start and end.
_GRACE_S = 60.0


def main(
    server: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Instead of an embedded server.")
    ] = None,
    model_repository: Annotated[Path, typer.Option(metavar="DIR")] = Path("model_repository"),
    catalog: Annotated[Path, typer.Option(metavar="FILE", help="What scenes rank.")] = CATALOG,
    pictures: Annotated[Path, typer.Option(metavar="DIR", help="What is sent.")] = PICTURES,
    reports: Annotated[Path, typer.Option(metavar="DIR")] = REPORTS,
    objective_p95_s: Annotated[float, typer.Option(min=0.001)] = Plan.objective_p95_s,
    min_rate: Annotated[
        float | None, typer.Option(help="The lowest knee that will do, per second.")
    ] = None,
    stage_s: Annotated[
        float, typer.Option(min=1, help="How long each rate is kept up.")
    ] = Plan.stage_s,
    rates: Annotated[
        str | None, typer.Option(help="Rates such as 5,10,20; else found from the server.")
    ] = None,
) -> None:
    """Find the knee, then see what twice its rate does to the server and what is left after."""
    try:
        plan = Plan(objective_p95_s, stage_s, parse_rates(rates) if rates else ())
    except ValueError as error:
        raise typer.BadParameter(f"--rates: {error}") from error
    say(f"a ramp of about {plan.longest_s / 60:.1f} minutes")
    reports.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if server is None:
            embedded = EmbeddedServer(model_repository, grpc_port=0, metrics_port=0)
            server = stack.enter_context(embedded).grpc_address
        run = run_locust(plan, server, catalog, pictures, reports)
        figures = measure(server, reports)
    if not report(run, figures, min_rate, reports):
        raise typer.Exit(1)


def run_locust(plan: Plan, server: str, catalog: Path, pictures: Path, reports: Path) -> Run:
    """Run the plan in a process of locust's own, bounded in time.

    Raises ServerError where it takes too long; exits where it has said what is wrong.
    """
    result = reports / "run.json"
    arguments = {
        "-f": _LOCUSTFILE, "--host": server, "--catalog": catalog, "--pictures": pictures,
        "--ramp": result, "--stage-s": plan.stage_s, "--objective-p95-s": plan.objective_p95_s,
        "--html": reports / "locust.html", "--csv": reports / "locust", "--loglevel": "WARNING",
        # In place of tables on the terminal.
        "--json-file": reports / "locust.json",
    }  # fmt: skip
    if plan.rates:
        arguments["--rates"] = ",".join(map(str, plan.rates))
    options = [str(part) for pair in arguments.items() for part in pair]
    locust = [sys.executable, "-m", "locust", *options, "--headless", "--only-summary"]
    # Twice, for the sake of the requests that linger after every stage.
    longest_s = 2 * plan.longest_s + TIMEOUT_S + _GRACE_S
    try:
        done = subprocess.run(
            bound_to_this_process(locust),
            stdout=subprocess.DEVNULL,
            timeout=longest_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"the ramp did not end within {longest_s:.0f} s and was ended") from error
    if done.returncode:
        raise typer.Exit(1)
    return Run.from_json(result.read_text(encoding="utf-8"))


def report(run: Run, figures: Figures, min_rate: float | None, reports: Path) -> bool:
    """Write the reports, print the objectives; whether all of them hold."""
    verdicts = judge(run, min_rate)
    write_text(reports / "summary.md", as_markdown(run, verdicts, figures))
    write_text(reports / "stages.csv", as_csv(run))
    draw_run(run, reports / "ramp.png")
    for verdict in verdicts:
        print(f"{'holds' if verdict.held else 'MISSED'}: {verdict.text}")
    say(f"reports: {reports}/summary.md, ramp.png, stages.csv, run.json, locust.html")
    return all(verdict.held for verdict in verdicts)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
