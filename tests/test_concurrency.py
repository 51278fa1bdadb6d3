"""The window of requests in flight, driven by hand."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Lock

import pytest
from completelook import ServerOverloaded
from completelook.concurrency import Window


class Clock:
    """A clock that only calls move."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def taking(self, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.now_s += seconds

        return call


def test_a_window_of_prompt_answers_adds_about_one() -> None:
    clock = Clock()
    window = Window(64, clock)
    for _ in range(16):
        window.run(clock.taking(0.1))
    assert 16.9 < window.size < 17


def test_slow_answers_leave_the_window_as_it_is() -> None:
    clock = Clock()
    window = Window(64, clock)
    for _ in range(16):
        window.run(clock.taking(1.0))
    assert window.size == 16


def test_the_window_never_outgrows_its_bound() -> None:
    window = Window(3)
    for _ in range(50):
        window.run(lambda: None)
    assert window.size == 3


def test_a_refused_call_is_made_again_in_half_the_window() -> None:
    clock = Clock()
    window = Window(64, clock)
    refusals = [ServerOverloaded("full"), ServerOverloaded("full")]

    def call() -> str:
        clock.now_s += 1  # slow, so that the answer adds nothing
        if refusals:
            raise refusals.pop()
        return "answer"

    assert window.run(call) == "answer"
    assert window.size == 4


def test_refusals_of_one_window_halve_it_once() -> None:
    clock = Clock()
    window = Window(8, clock)
    together, lock, refused = Barrier(8), Lock(), []

    def call() -> None:
        with lock:
            clock.now_s += 1
            first_time = len(refused) < 8
            refused.append(1)
        if first_time:
            together.wait(timeout=10)
            raise ServerOverloaded("full")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: window.run(call), range(8)))
    assert window.size == 4


def test_calls_in_flight_stay_within_the_window() -> None:
    window, fourth = Window(3), Barrier(4)

    def call() -> bool:
        try:
            fourth.wait(timeout=0.3)
        except BrokenBarrierError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        met = list(pool.map(lambda _: window.run(call), range(12)))
    assert met == [False] * 12


def test_a_refusal_of_a_call_that_was_alone_is_raised() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise ServerOverloaded("full")

    with pytest.raises(ServerOverloaded):
        Window(64).run(call)
    assert len(calls) == 5  # at 16, 8, 4, 2 and 1


def test_another_failure_is_raised_and_frees_its_place() -> None:
    window = Window(1)
    with pytest.raises(ValueError, match="broken"):
        window.run(lambda: int("broken"))
    assert window.run(lambda: "next") == "next"
