"""Conditions: which products may be found at all, by what stands in the shop's columns.

A condition names a column, a comparison and a value, so that each store can evaluate it in its own
way; `Condition.test` says what it means, cell by cell. Several hold together.
"""

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from completelook.errors import ConditionError
from completelook.products import Amount, aligned, read_amount, read_moment, read_truth

Value = str | bool | int | float | Decimal | date

if TYPE_CHECKING:
    from pyarrow.compute import Expression
else:  # Costly to import, and needed only where one is given.
    Expression = Any


class Comparison(StrEnum):
    """How a cell and a value are compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    HAS = "has"  # of a list


class Kind(StrEnum):
    """What the cells of a column are."""

    NUMBER = "numbers"
    TRUTH = "true or false"
    MOMENT = "dates"
    TEXT = "text"


COMPARE: dict[Comparison, Callable[[Any, Any], Any]] = {
    Comparison.EQUAL: operator.eq,
    Comparison.NOT_EQUAL: operator.ne,
    Comparison.LESS: operator.lt,
    Comparison.AT_MOST: operator.le,
    Comparison.MORE: operator.gt,
    Comparison.AT_LEAST: operator.ge,
}
EQUALITIES = (Comparison.EQUAL, Comparison.NOT_EQUAL)
_CONDITION = re.compile(
    r"\s*(?P<column>.*?\S)\s*(?P<comparison>!=|<=|>=|==|=|<|>|\shas\s)\s*(?P<value>\S.*?)\s*",
    re.DOTALL,
)
PART = re.compile(r"[,;|]")


@dataclass(frozen=True)
class Condition:
    """A column, a comparison, a value; a text is taken for whatever the column holds.

    A cell that is missing (null, NaN, empty text) meets no condition, not even `!=`.
    """

    column: str
    comparison: Comparison
    value: Value

    def __post_init__(self) -> None:
        if self.comparison not in list(Comparison):
            raise ConditionError(
                f"comparison {str(self.comparison)!r}, expected one of {' '.join(Comparison)}"
            )
        if not isinstance(self.value, Value) or is_missing(self.value):
            raise ConditionError(f"{self}: expected a text, a number, true or false, or a date")
        object.__setattr__(self, "comparison", Comparison(self.comparison))

    def __str__(self) -> str:
        return f"{self.column} {self.comparison} {self.value}"

    def wanted(self, kind: Kind) -> Any:
        """The value as cells of a kind are compared with it: Decimal, bool, date or str.

        Raises ConditionError for a value that is none of the kind, and for a comparison that
        cells of the kind cannot be put to.
        """
        if self.comparison is Comparison.HAS and kind is not Kind.TEXT:
            raise self._impossible(kind, "`has` asks lists and texts with parts")
        if kind is Kind.TEXT:
            return str(self.value)
        equality = self.comparison in EQUALITIES
        if kind is Kind.NUMBER:
            number = self._number(equality=equality)
            if number is None:
                raise self._impossible(kind, "expected a number such as 49.99")
            return number
        if kind is Kind.TRUTH:
            truth = self._read(bool, read_truth)
            if truth is None or not equality:
                raise self._impossible(kind, "expected = or != and true or false")
            return truth
        moment = self._read(date, read_moment)
        if moment is None:
            raise self._impossible(kind, "expected a date such as 2026-01-31")
        return moment

    def test(self, kind: Kind) -> Callable[[Any], bool]:
        """What tells whether a cell of a kind, none that is missing, meets it.

        Texts are equal to the letter, or where both say the same number, date or yes and no; they
        are greater or less by the numbers or dates that they say. Amounts in unlike currencies
        are not equal, and neither is greater. Raises what `wanted` raises.
        """
        wanted = self.wanted(kind)
        if kind is Kind.TEXT:
            return self._text_test()
        compare = COMPARE[self.comparison]
        if kind is Kind.NUMBER:
            near = float(wanted)
            return lambda cell: bool(compare(cell, near if isinstance(cell, float) else wanted))
        if kind is Kind.MOMENT:
            return lambda cell: bool(compare(*aligned(cell, wanted)))
        return lambda cell: bool(compare(cell, wanted))

    def matches(self, cell: Any) -> bool:
        """Whether a cell meets it, whatever it holds. Raises ConditionError as `test` does."""
        if is_missing(cell):
            return False
        if isinstance(cell, list | tuple):
            return any(self.of_elements().matches(each) for each in cell)
        return self.test(kind_of_cell(cell))(cell)

    def of_elements(self) -> "Condition":
        """What one element of a list must meet for the list to. Raises ConditionError."""
        if self.comparison is not Comparison.HAS:
            raise ConditionError(
                f"{self}: column {self.column!r} holds lists: expected `{self.column} has VALUE`"
            )
        return replace(self, comparison=Comparison.EQUAL)

    @property
    def reading(self) -> Amount | date | bool | None:
        """What the value says, if anything, to a column of texts."""
        if isinstance(self.value, bool | date):
            return self.value
        if not isinstance(self.value, str):
            return Amount(Decimal(str(self.value)))
        return next(
            (said for read in _READERS.values() if (said := read(self.value)) is not None), None
        )

    def _text_test(self) -> Callable[[str], bool]:
        if self.comparison is Comparison.HAS:
            part = self.of_elements()._text_test()
            return lambda cell: any(part(each.strip()) for each in PART.split(cell))
        text, said = str(self.value), self.reading
        equality = self.comparison in EQUALITIES
        if not equality and (said is None or isinstance(said, bool)):
            raise self._impossible(Kind.TEXT, "expected a number or a date, or = or !=")
        compare = COMPARE[Comparison.EQUAL if equality else self.comparison]

        def told(cell: str) -> bool:
            return (equality and cell == text) or says(cell, compare, said)

        if self.comparison is Comparison.NOT_EQUAL:
            return lambda cell: not told(cell)
        return told

    def _number(self, *, equality: bool) -> Decimal | None:
        if isinstance(self.value, bool):  # Of a feed whose yes and no are 1 and 0.
            return Decimal(self.value) if equality else None
        if isinstance(self.value, date):
            return None
        if not isinstance(self.value, str):
            return Decimal(str(self.value))
        if (amount := read_amount(self.value)) is not None:
            return amount.value
        try:
            number = Decimal(self.value)
        except InvalidOperation:
            truth = read_truth(self.value) if equality else None
            return None if truth is None else Decimal(truth)
        return number if number.is_finite() else None

    def _read(self, kind: type, read: Callable[[str], Any]) -> Any:
        if isinstance(self.value, kind):
            return self.value
        return read(self.value) if isinstance(self.value, str) else None

    def _impossible(self, kind: Kind, expected: str) -> ConditionError:
        return ConditionError(f"{self}: column {self.column!r} holds {kind}: {expected}")


_READERS: dict[type, Callable[[str], Amount | date | bool | None]] = {
    Amount: read_amount,
    date: read_moment,
    bool: read_truth,
}


# What a store is asked, and what may be written for it: the Arrow store takes expressions as well.
Filter: TypeAlias = Condition | Expression
Where: TypeAlias = Filter | str


def parse_condition(text: str) -> Condition:
    """A condition as the command line has it: `price<50`, `brand=ACME`, `sizes has XL`.

    The first comparison in the text parts column and value; one pair of quotes around the value is
    taken off. Raises ConditionError.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ConditionError(
            f"{text!r} is no condition: expected COLUMN, one of {' '.join(Comparison)}, and a "
            "value, as in price<50 or 'sizes has XL'"
        )
    value = found["value"]
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    comparison = found["comparison"].strip()
    return Condition(found["column"], Comparison("=" if comparison == "==" else comparison), value)


def require_columns(conditions: Iterable[Any], columns: Sequence[str], location: str) -> None:
    """Raises ConditionError for a condition on a column that is not there, listing what is."""
    for condition in conditions:
        if isinstance(condition, Condition) and condition.column not in columns:
            near = difflib.get_close_matches(condition.column, columns, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            listed = ", ".join(repr(name) for name in columns)
            raise ConditionError(
                f"{condition}: {location} has no column {condition.column!r}: {hint}It has {listed}"
            )


def conditions_only(where: Iterable[Filter], location: str) -> tuple[Condition, ...]:
    """For a store that takes nothing else. Raises ConditionError for an expression."""
    conditions = tuple(where)
    for condition in conditions:
        if not isinstance(condition, Condition):
            raise ConditionError(
                f"{condition}: {location} takes no expressions of pyarrow: expected a Condition"
            )
    return cast(tuple[Condition, ...], conditions)


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: null, NaN, or text of spaces at most."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float | Decimal) and math.isnan(cell))


def kind_of_cell(cell: Any) -> Kind:
    """The kind of a cell. Raises ConditionError for one that cannot be compared."""
    for kind, types in _CELLS.items():
        if isinstance(cell, types):
            return kind
    raise ConditionError(f"a cell of type {type(cell).__name__} cannot be compared")


# A bool is an int to Python, so it comes first.
_CELLS: dict[Kind, tuple[type, ...]] = {
    Kind.TRUTH: (bool,),
    Kind.NUMBER: (int, float, Decimal),
    Kind.MOMENT: (date,),
    Kind.TEXT: (str,),
}


def says(
    cell: str, compare: Callable[[Any, Any], Any], wanted: Amount | date | bool | None
) -> bool:
    """Whether what a text says compares so with a reading of the same kind."""
    if wanted is None:
        return False
    kind = next(kind for kind in _READERS if isinstance(wanted, kind))
    said = _READERS[kind](cell)
    if said is None:
        return False
    if isinstance(said, Amount) and isinstance(wanted, Amount):
        if wanted.currency and said.currency and wanted.currency != said.currency:
            return False
        return bool(compare(said.value, wanted.value))
    if isinstance(said, date) and isinstance(wanted, date):
        said, wanted = aligned(said, wanted)
    return bool(compare(said, wanted))
