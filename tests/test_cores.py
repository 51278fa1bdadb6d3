"""The instances of a model that run at the same moment share the machine's cores."""

import os
from contextlib import ExitStack

import pytest
from completelook.server.pytorch_backend.cores import Cores


def cores(instance: int, model: str = "backbone") -> Cores:
    # Locks hold for the whole machine, on which these tests may run more than once at a time.
    return Cores(f"/models/{os.getpid()}/{model}", instance, most=8)


def test_an_instance_that_runs_alone_has_all_cores():
    with cores(1).share() as threads:
        assert threads == 8


@pytest.mark.parametrize(("running", "threads"), [(1, 4), (2, 2), (3, 2), (7, 1), (12, 1)])
def test_an_instance_shares_with_those_that_run(running, threads):
    with ExitStack() as stack:
        for instance in range(running):
            stack.enter_context(cores(100 - 7 * instance).share())
        with cores(50).share() as found:
            assert found == threads


def test_an_instance_that_has_ended_its_work_takes_no_share():
    first, second = cores(1), cores(2)
    with pytest.raises(ZeroDivisionError), first.share():
        _ = 1 / 0
    with second.share() as threads:
        assert threads == 8
    with first.share() as threads:
        assert threads == 8


def test_instances_of_another_model_take_no_share():
    with cores(1, model="scene_head").share(), cores(2).share() as threads:
        assert threads == 8


def test_process_numbers_at_the_edges_are_seen():
    with cores(0).share(), cores(2**22 - 1).share(), cores(1).share() as threads:
        assert threads == 8 // 3
