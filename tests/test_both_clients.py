"""The two clients have the same methods, but for the waiting."""

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import get_origin, get_type_hints

import pytest
from completelook import AsyncCompleteLook, CompleteLook


def methods(client: type) -> list[str]:
    return sorted(name for name in vars(client) if not name.startswith("_"))


def answer(method: object) -> object:
    """What a method gives, or yields, once it is waited for."""
    given = get_type_hints(method)["return"]
    if get_origin(given) in (Iterator, AsyncIterator):
        return "yields", *given.__args__
    return given


def test_the_clients_have_the_same_methods() -> None:
    assert methods(CompleteLook) == methods(AsyncCompleteLook)
    assert {"rank", "rank_scene", "rank_scenes", "categories"} <= set(methods(CompleteLook))


@pytest.mark.parametrize("name", ["__init__", *methods(CompleteLook)])
def test_a_method_is_called_alike_in_both(name: str) -> None:
    waiting, awaited = getattr(CompleteLook, name), getattr(AsyncCompleteLook, name)
    # Names, kinds, defaults and annotations of every parameter, in their order.
    parameters = [list(inspect.signature(each).parameters.values()) for each in (waiting, awaited)]
    assert parameters[0] == parameters[1]
    assert answer(waiting) == answer(awaited)


@pytest.mark.parametrize("name", methods(CompleteLook))
def test_every_method_of_the_one_is_awaited_in_the_other(name: str) -> None:
    method = getattr(AsyncCompleteLook, name)
    assert inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
    assert inspect.isasyncgenfunction(method) == inspect.isgeneratorfunction(
        getattr(CompleteLook, name)
    )
