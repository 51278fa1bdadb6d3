"""Selection: which rows of an Arrow table meet conditions, column by column, nothing copied."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.conditions import (
    COMPARE,
    EQUALITIES,
    Comparison,
    Condition,
    Kind,
    is_missing,
    says,
)
from completelook.errors import ConditionError
from completelook.products import Amount
from completelook.storage import Content


def selected(content: Content, rows: slice, where: Iterable[Any]) -> NDArray[np.intp]:
    """The places, counted from the slice's first, of the rows that meet all conditions, [k].

    Only the columns asked about are read, and of them the slice; beside a Condition, a
    pyarrow.compute Expression may ask what it likes. Raises ConditionError.
    """
    kept = np.ones(rows.stop - rows.start, np.bool_)
    for condition in where:
        if isinstance(condition, Condition):
            met = meeting(content.column(condition.column, rows), condition)
            if not met.any():  # Rare, and then often a condition that no product at all can meet.
                whole = content.column(condition.column, slice(0, content.rows))
                require_comparable(whole, condition)
        else:
            names = [name for name in content.schema.names if name != "embedding"]
            part = {name: content.column(name, rows) for name in names}
            met = expression_meeting(part, condition)
        kept &= met
    return np.flatnonzero(kept)


def met_by(
    cells: Callable[[str], Sequence[Any]],
    count: int,
    where: Sequence[Any],
    kinds: Mapping[str, pa.DataType],
) -> NDArray[np.bool_]:
    """Which conditions each of `count` products meets, [n, conditions], as a search would say.

    Given are their cells by column and what type a column has in the store. Raises ConditionError.
    """
    met = np.zeros((count, len(where)), np.bool_)
    for place, condition in enumerate(where):
        asked = [condition.column] if isinstance(condition, Condition) else [*kinds]
        columns = {name: pa.array(cells(name), kinds[name]) for name in asked}
        if isinstance(condition, Condition):
            met[:, place] = meeting(columns[condition.column], condition)
        else:
            met[:, place] = expression_meeting(columns, condition)
    return met


def expression_meeting(columns: Mapping[str, Any], expression: Any) -> NDArray[np.bool_]:
    """Which rows of some columns meet an expression, [n]. Raises ConditionError."""
    # A second to import, and needed for nothing else.
    from pyarrow import acero

    plan = acero.Declaration.from_sequence(
        [
            acero.Declaration("table_source", acero.TableSourceNodeOptions(pa.table(columns))),
            acero.Declaration("project", acero.ProjectNodeOptions([expression], ["met"])),
        ]
    )
    try:
        # Threads would give the rows in another order.
        met: Any = plan.to_table(use_threads=False)["met"]
    except (pa.ArrowException, TypeError) as error:
        listed = ", ".join(repr(name) for name in columns)
        raise ConditionError(
            f"{expression}: {' '.join(str(error).split())}: the columns are {listed}"
        ) from error
    if not pa.types.is_boolean(met.type):
        raise ConditionError(f"{expression}: gives {met.type}, expected true or false")
    truth: NDArray[np.bool_] = met.fill_null(False).to_numpy()
    return truth


def meeting(column: Any, condition: Condition) -> NDArray[np.bool_]:
    """Which cells of a column meet a condition, [n]; each different value is looked at once.

    A number is compared in the column's own precision. Raises ConditionError.
    """
    kind_of = column.type
    if pa.types.is_null(kind_of):
        return np.zeros(len(column), np.bool_)
    if pa.types.is_dictionary(kind_of):
        return meeting(column.cast(kind_of.value_type), condition)
    if pa.types.is_integer(kind_of) or pa.types.is_floating(kind_of):
        return _numbers_meeting(column, condition)
    if is_list(kind_of):
        return _lists_meeting(column, condition)
    if pa.types.is_timestamp(kind_of):
        column = column.cast(pa.timestamp("us", kind_of.tz), safe=False)
    test = condition.test(kind_of_type(kind_of, condition))
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    met = [not is_missing(value) and test(value) for value in values]
    codes = encoded.indices.fill_null(len(met)).to_numpy(zero_copy_only=False)
    cells: NDArray[np.bool_] = np.array([*met, False])[codes]
    return cells


def require_comparable(column: Any, condition: Condition) -> None:
    """Raises ConditionError where a column of texts says nothing to put a `<` or `>` to at all."""
    if not is_text(column.type) or condition.comparison in (*EQUALITIES, Comparison.HAS):
        return
    first = None
    for cell in (scalar.as_py() for scalar in column):
        if not is_missing(cell):
            first = first or cell
            if says(cell, lambda *_: True, condition.reading):
                return
    if first is not None:
        what = "number" if isinstance(condition.reading, Amount) else "date"
        raise ConditionError(
            f"{condition}: column {condition.column!r} holds texts, and none of them says a "
            f"{what}: the first is {first!r}"
        )


def kind_of_type(kind: pa.DataType, condition: Condition) -> Kind:
    """The kind of a column's cells. Raises ConditionError for one that cannot be compared."""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.NUMBER
    if pa.types.is_boolean(kind):
        return Kind.TRUTH
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return Kind.MOMENT
    if is_text(kind):
        return Kind.TEXT
    raise ConditionError(
        f"{condition}: column {condition.column!r} holds {kind}, which cannot be compared: "
        "expected text, numbers, true or false, dates, or lists of these"
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _numbers_meeting(column: Any, condition: Condition) -> NDArray[np.bool_]:
    wanted = condition.wanted(Kind.NUMBER)
    values = (column.fill_null(0) if column.null_count else column).to_numpy(zero_copy_only=False)
    limit: Any
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            limit = values.dtype.type(float(wanted))
        present = ~np.isnan(values)
    else:
        range_of = np.iinfo(values.dtype)
        is_inside = range_of.min <= wanted <= range_of.max
        # Between two whole numbers a float is exact, and beyond all of them infinity is as good.
        limit = float(wanted) if is_inside else math.copysign(math.inf, wanted)
        if is_inside and wanted == wanted.to_integral_value():
            limit = int(wanted)
        present = np.ones(len(values), np.bool_)
    if column.null_count:
        present &= column.is_valid().to_numpy(zero_copy_only=False)
    met: NDArray[np.bool_] = COMPARE[condition.comparison](values, limit) & present
    return met


def _lists_meeting(column: Any, condition: Condition) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    element = condition.of_elements()
    met = meeting(pc.list_flatten(column), element)
    lists = np.zeros(len(column), np.bool_)
    lists[pc.list_parent_indices(column).to_numpy()[met]] = True
    return lists
