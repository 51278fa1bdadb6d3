"""What locust runs: users who wait for their answers, arrivals that do not, and the ramp.

Importing locust makes the standard library cooperative, and gRPC has to be told before its first
use; so this module is imported by locust's process alone, and first.
"""

import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

# isort: off
from locust import User, events, task
from locust.env import Environment
import grpc.experimental.gevent
# isort: on

import numpy as np
from completelook import Catalog, CompleteLook
from completelook.errors import CompleteLookError, exit_with
from completelook.files import write_text
from completelook.server import owners_headers
from completelook_build.console import say
from gevent import get_hub
from gevent.pool import Group
from tritonclient.grpc import InferenceServerClient

from completelook_load.inputs import CATALOG, PICTURES, decode, find_pictures
from completelook_load.traffic.ramp import Plan, parse_rates, run_ramp
from completelook_load.traffic.request import MIX, TIMEOUT_S, Outcome, RequestMix
from completelook_load.traffic.schedule import arrival_times, send_on_time
from completelook_load.traffic.stage import read_counters

# gRPC waits for every call in a thread of gevent's pool. With its 10, a refusal would be seen only
# when a slow answer before it has freed one.
get_hub().threadpool.maxsize = 1000
grpc.experimental.gevent.init_gevent()

_SEED = 0
# Of endless arrivals, as many are drawn at a time as come in so long.
_WINDOW_S = 10.0


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: ArgumentParser) -> None:
    """The options that locust's own command line gains."""
    add = parser.add_argument_group("Complete the Look").add_argument
    add("--pictures", type=Path, default=PICTURES, help="A folder of pictures to send.")
    add("--catalog", type=Path, default=CATALOG, help="The catalog that scenes rank.")
    add("--arrival-rate", type=float, help="Requests per second that wait for no answer.")
    add("--ramp", type=Path, help="Run a ramp, and write what came of it into this JSON file.")
    add("--objective-p95-s", type=float, default=Plan.objective_p95_s)
    add("--stage-s", type=float, default=Plan.stage_s, help="How long each rate is kept up.")
    add("--rates", type=parse_rates, default=Plan.rates, help="The ramp's rates, as 5,10,20.")


@events.init.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Environment, **_: Any) -> None:
    """Choose the users, decode their pictures and see that the server answers all they ask."""
    options = _options(environment)
    if not environment.host:
        sys.exit("error: no server is named: give --host HOST:PORT, Triton's gRPC endpoint")
    open_loop = options.ramp is not None or options.arrival_rate is not None
    environment.user_classes = [_chosen(options)]
    # A refusal is to be seen, not tried again.
    look = CompleteLook(environment.host, timeout_s=TIMEOUT_S, retries=False)
    # An open channel would keep the process from ending.
    environment.events.quit.add_listener(lambda **_: look.close())  # type: ignore[no-untyped-call]
    try:
        pictures = find_pictures(options.pictures)
        sources = decode(pictures) if open_loop else pictures
        _Load.requests = RequestMix(look, Catalog.open(options.catalog), sources, _SEED)
        _Load.requests.check()
    except CompleteLookError as error:
        look.close()
        exit_with(error)


def _options(environment: Environment) -> Any:
    """What locust's own parser made of the command line."""
    return environment.parsed_options


def _chosen(options: Any) -> type[User]:
    if options.ramp is not None:
        return Ramp
    return Visitors if options.arrival_rate is None else Arrivals


class _Load(User):
    """What all users share: one connection, as a process of the client library has."""

    abstract = True
    requests: RequestMix

    def ask(self, *, kind: str | None = None, due_s: float | None = None, label: str) -> Outcome:
        """Send one request and tell locust how it ended, with a failure as text."""
        outcome = self.requests.send(kind, due_s=due_s)
        self.environment.events.request.fire(
            request_type=label,
            name=outcome.kind,
            response_time=outcome.latency_s * 1000,
            response_length=0,
            exception=outcome.failure,
            context={},
        )
        return outcome


class Visitors(_Load):
    """Users who ask again as soon as they have their answer; decoding is part of a request."""

    @task(MIX["embed_scene"])
    def embed_scene(self) -> None:
        self.ask(kind="embed_scene", label="closed")

    @task(MIX["rank"])
    def rank(self) -> None:
        self.ask(kind="rank", label="closed")

    @task(MIX["embed_product"])
    def embed_product(self) -> None:
        self.ask(kind="embed_product", label="closed")


class Arrivals(_Load):
    """Requests that arrive at a constant rate, of pictures decoded before."""

    def on_start(self) -> None:
        self.in_flight = Group()

    def on_stop(self) -> None:
        self.in_flight.kill()

    @task
    def arrive(self) -> None:
        rate = _options(self.environment).arrival_rate
        random = np.random.default_rng(_SEED)
        started_s = time.perf_counter()
        while True:
            offsets_s = arrival_times(rate, _WINDOW_S, random).tolist()
            send_on_time(offsets_s, started_s, self._ask_due, self.in_flight)
            started_s += _WINDOW_S

    def _ask_due(self, due_s: float) -> None:
        self.ask(due_s=due_s, label="open")


class Ramp(_Load):
    """A whole ramp, once."""

    @task
    def run_plan(self) -> None:
        options, self.environment.process_exit_code = _options(self.environment), 1
        plan = Plan(options.objective_p95_s, options.stage_s, options.rates)
        try:
            server = str(self.environment.host)
            headers = owners_headers(server)
            with InferenceServerClient(server) as client:
                run = run_ramp(plan, self.ask, lambda: read_counters(client, headers))
            write_text(options.ramp, run.as_json())
            self.environment.process_exit_code = 0
        except CompleteLookError as error:
            say(f"error: {error}")
        finally:
            # Locust would begin a task that has ended, or failed, again.
            if self.environment.runner:
                self.environment.runner.quit()
