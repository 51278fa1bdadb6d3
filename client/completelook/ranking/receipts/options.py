"""Options as a receipt keeps them: every one that an answer may be told, in what JSON knows."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from completelook.catalog import Comparison, Condition
from completelook.errors import ReceiptError
from completelook.ranking.rules import Rules
from completelook.ranking.steering import Steering
from completelook.ranking.variety import Variety


def options_as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options, their conditions parsed, as JSON has them."""
    return {name: _KEPT[name][0](value) for name, value in options.items()}


def options_from_json(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What `options_as_json` kept. Raises ReceiptError, and others for what it did not write."""
    return {name: _KEPT[name][1](value) for name, value in kept.items()}


def all_options(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given and, of the others, what a function takes them to be."""
    parameters = inspect.signature(function).parameters
    return {name: parameters[name].default for name in _KEPT if name in parameters} | {**given}


def _kept_conditions(where: Sequence[Any]) -> list[Any]:
    return [
        [each.column, each.comparison, _kept_value(each.value)]
        if isinstance(each, Condition)
        else str(each)
        for each in where
    ]


def _conditions(kept: Sequence[Any]) -> tuple[Condition, ...]:
    for each in kept:
        if isinstance(each, str):
            raise ReceiptError(
                f"the condition {each} was an expression of pyarrow, of which a receipt keeps the "
                "text alone: only answers under conditions such as 'price<50' can be replayed"
            )
    return tuple(
        Condition(column, Comparison(comparison), _value(value))
        for column, comparison, value in kept
    )


# JSON has no such types.
_TYPES: dict[str, tuple[type, Callable[[str], Any]]] = {
    "decimal": (Decimal, Decimal),
    "moment": (datetime, datetime.fromisoformat),  # before date, which each of them is
    "date": (date, date.fromisoformat),
}


def _kept_value(value: Any) -> Any:
    for name, (type_, _) in _TYPES.items():
        if isinstance(value, type_):
            return {name: value.isoformat() if isinstance(value, date) else str(value)}
    return value


def _value(kept: Any) -> Any:
    if isinstance(kept, dict):
        [(name, text)] = kept.items()
        return _TYPES[name][1](text)
    return kept


def _as_it_is(value: Any) -> Any:
    return value


# How each option is written as JSON, and read.
_KEPT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "top": (_as_it_is, _as_it_is),
    "min_compatibility": (_as_it_is, _as_it_is),
    "where": (_kept_conditions, _conditions),
    "variety": (asdict, lambda kept: Variety(**kept)),
    "steering": (asdict, lambda kept: Steering(**kept)),
    "rules": (Rules.as_mapping, lambda kept: Rules.of(kept, source="the receipt")),
    "budget": (_as_it_is, _as_it_is),
    "more": (_as_it_is, _as_it_is),
    "must": (list, tuple),
    "price_column": (_as_it_is, _as_it_is),
    "coherence": (_as_it_is, _as_it_is),
}
