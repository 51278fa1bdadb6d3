"""Conditions as Milvus's filter: whatever meets them passes it, and little that does not.

What passes is looked at again by the same code as a row of an Arrow file, so the result is exact.
Milvus compares what a cell says as floats and hashes; where that might leave out what meets a
condition, a condition asks for more, up to nothing at all.
"""

import math
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from completelook.catalog.conditions import Comparison, Condition, Filter, Kind
from completelook.catalog.milvus.rows import (
    ANY_TOKEN,
    LARGEST,
    NO_NUMBER,
    NUMBERS,
    Layout,
    ordinal,
    token,
)
from completelook.catalog.milvus.server import quoted
from completelook.catalog.selection import is_list, kind_of_type
from completelook.products import Amount

_BELOW = {Comparison.LESS, Comparison.AT_MOST}
_ABOVE = {Comparison.MORE, Comparison.AT_LEAST}
# Within so many days lie all clocks of the world.
_CLOCKS_DAYS = 2.0


def filter_of(category: str, where: Iterable[Filter], layout: Layout) -> str:
    """The filter for a category's products that meet conditions."""
    terms = [f"category == {quoted(category)}"]
    for condition in where:
        if isinstance(condition, Condition):
            terms += _translated(condition, layout)
    return " and ".join(terms)


def is_compared(condition: Filter) -> bool:
    """Whether a condition asks for what is greater or less."""
    return isinstance(condition, Condition) and condition.comparison in _BELOW | _ABOVE


def has_number(condition: Condition, layout: Layout) -> str:
    """The filter for products whose cell a condition can be compared with; empty without one."""
    slot = _slot(condition, layout)
    return f"{slot} > {NO_NUMBER!r}" if slot else ""


def _slot(condition: Condition, layout: Layout) -> str:
    slots = dict(zip(layout.slots, NUMBERS, strict=False))
    return slots.get(condition.column, "")


def _translated(condition: Condition, layout: Layout) -> list[str]:
    if condition.column not in layout.schema.names:
        return []  # The id or the category, by what they say.
    kind: Any = layout.schema.field(condition.column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return []
    if condition.comparison in (Comparison.EQUAL, Comparison.HAS):
        return _equal(condition, kind)
    slot = _slot(condition, layout)
    return _ordered(condition, kind, slot) if slot and is_compared(condition) else []


def _equal(condition: Condition, kind: Any) -> list[str]:
    use = "has" if condition.comparison is Comparison.HAS else "is"
    if is_list(kind):
        kind = kind.value_type
        condition = condition.of_elements()
    said = _wanted(condition, kind)
    if said is None:
        return []
    tokens = [str(token(condition.column, use, each)) for each in said]
    return [f"array_contains_any(tokens, [{', '.join([str(ANY_TOKEN), *tokens])}])"]


def _wanted(condition: Condition, kind: Any) -> list[str | float | bool | date] | None:
    """What a cell may say that meets an equality; None where that cannot be listed."""
    kind_of = kind_of_type(kind, condition)
    if kind_of is Kind.TEXT:
        said, text = condition.reading, str(condition.value)
        if isinstance(said, datetime):
            return None
        if said is None:
            return [text]
        return [text, float(said.value) if isinstance(said, Amount) else said]
    wanted = condition.wanted(kind_of)
    if isinstance(wanted, datetime):
        return None
    if isinstance(wanted, Decimal):
        return list(_in_precision(wanted, kind))
    return [wanted]


def _ordered(condition: Condition, kind: Any, slot: str) -> list[str]:
    kind_of = kind_of_type(kind, condition)
    wanted = condition.reading if kind_of is Kind.TEXT else condition.wanted(kind_of)
    if isinstance(wanted, Amount):
        wanted = wanted.value
    if isinstance(wanted, date):
        bounds = [ordinal(wanted) - _CLOCKS_DAYS, ordinal(wanted) + _CLOCKS_DAYS]
    elif isinstance(wanted, Decimal):
        near = _in_precision(wanted, kind)
        bounds = [math.nextafter(min(near), -math.inf), math.nextafter(max(near), math.inf)]
    else:
        return []
    low, high = (max(-LARGEST, min(bound, LARGEST)) for bound in bounds)
    if condition.comparison in _BELOW:
        return [f"{slot} > {NO_NUMBER!r}", f"{slot} <= {high!r}"]
    return [f"{slot} >= {low!r}"]


def _in_precision(wanted: Decimal, kind: Any) -> set[float]:
    """A number as a float, and as a column of shorter floats has it."""
    near = {float(wanted)}
    if pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            near.add(float(np.dtype(f"f{kind.bit_width // 8}").type(float(wanted))))
    return near
