"""Requests in flight: their order, and their window, driven by hand."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, Event, Lock

import pytest
from completelook import ServerOverloaded, ServerTimeout, ServerUnavailable
from completelook.concurrency import (
    Window,
    map_as_completed,
    map_in_flight,
    map_tasks_in_flight,
)


def mapped(function, items, in_flight):
    return list(map_in_flight(function, items, in_flight=in_flight))


def mapped_by_tasks(function, items, in_flight):
    """`map_tasks_in_flight` of a function that blocks, run in threads of its own."""

    async def mapping():
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(in_flight) as pool:

            async def call(item):
                return await loop.run_in_executor(pool, function, item)

            results = map_tasks_in_flight(call, items, in_flight=in_flight)
            return [result async for result in results]

    return asyncio.run(mapping())


IN_ORDER = pytest.mark.parametrize("mapping", [mapped, mapped_by_tasks], ids=["threads", "tasks"])


@IN_ORDER
def test_a_slow_first_item_holds_up_the_work_on_no_other(mapping) -> None:
    others_done, done = Event(), []

    def work(item: int) -> int:
        if item == 0:
            assert others_done.wait(timeout=20), f"only {len(done)} of 199 were worked on"
        else:
            done.append(item)
            if len(done) == 199:
                others_done.set()
        return item

    assert mapping(work, range(200), 8) == list(range(200))


@IN_ORDER
def test_what_is_worked_out_ahead_is_bounded(mapping) -> None:
    last_in_bounds, beyond = Event(), Event()

    def work(item: int) -> int:
        if item == 0:
            assert last_in_bounds.wait(timeout=20)
            assert not beyond.wait(
                timeout=0.2
            )  # time for one more to be begun, were it not bounded
        elif item == 63:  # 32 for each of 2 in flight
            last_in_bounds.set()
        elif item == 64:
            beyond.set()
        return item

    assert mapping(work, range(100), 2) == list(range(100))


@IN_ORDER
def test_after_a_failure_nothing_more_is_begun_and_it_is_raised_in_its_turn(mapping) -> None:
    begun, failed = [], Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 0:
            assert failed.wait(timeout=20)
        if item == 5:
            failed.set()
            raise ValueError("broken")
        return item

    with pytest.raises(ValueError, match="broken"):
        mapping(work, range(100), 2)
    assert begun == [0, 1, 2, 3, 4, 5]


def test_results_before_a_failure_are_handed_on_first() -> None:
    results = map_in_flight(lambda item: 1 / (3 - item), range(9), in_flight=4)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_results_as_they_come_wait_for_no_slow_one() -> None:
    others_handed_on = Event()

    def work(item: int) -> int:
        if item == 0:
            assert others_handed_on.wait(timeout=20)
        return item

    handed_on = []
    for result in map_as_completed(work, range(500), in_flight=3):
        handed_on.append(result)
        if len(handed_on) == 499:
            others_handed_on.set()
    assert sorted(handed_on) == list(range(500))
    assert handed_on[-1] == 0


def test_results_as_they_come_end_with_the_first_failure() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(map_as_completed(work, range(100), in_flight=1))
    assert begun == [0, 1, 2, 3]


@pytest.mark.parametrize("mapping", [mapped, mapped_by_tasks], ids=["threads", "tasks"])
def test_no_items_make_no_results(mapping) -> None:
    assert mapping(str, [], 4) == []


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


@pytest.mark.parametrize("failure", [ServerOverloaded("full"), ServerTimeout("no answer")])
def test_a_refused_call_is_made_again_in_half_the_window(failure: Exception) -> None:
    clock = Clock()
    window = Window(64, clock)
    refusals = [failure, failure]

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


@pytest.fixture
def outages_end_at_once() -> None:
    """Not here, where a clock of its own tells how long they last."""


def test_a_server_that_is_gone_is_waited_for() -> None:
    clock, failures = Clock(), [ServerUnavailable("gone")] * 50

    def call() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    window = Window(8, clock, lambda seconds: clock.taking(seconds)())
    for _ in range(3):  # Each answer ends an outage: the next may last as long.
        assert window.run(call) == "answer"
        failures += [ServerUnavailable("gone")] * 50
    assert window.size > 8 - 1


def test_a_server_that_does_not_come_back_is_an_error_in_the_end() -> None:
    clock = Clock()

    def call() -> None:
        raise ServerUnavailable("gone")

    with pytest.raises(ServerUnavailable, match="gone"):
        Window(8, clock, lambda seconds: clock.taking(seconds)()).run(call)
    assert clock.now_s == 120
