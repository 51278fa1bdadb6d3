"""Controls: what a person can ask of products, made from the columns that a catalog has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from completelook.catalog import Catalog, is_missing
from completelook.contract import EMBEDDING_SIZE
from completelook.products import read_amount, read_truth
from completelook.ranking import PRICE_COLUMN

# Of more values a person would have to read a list.
_MOST_CHOICES = 24
# A control that the first products do not call for is none: a catalog may hold a million.
_LOOKED_AT = 2_000  # of each category


class Kind(StrEnum):
    """What a control looks like."""

    RANGE = "range"
    CHOICE = "choice"
    TRUTH = "truth"


@dataclass(frozen=True)
class Control:
    """A way to ask for products by one of the shop's columns."""

    column: str
    kind: Kind
    least: Decimal | None = None  # of a range, among the products looked at
    most: Decimal | None = None
    unit: str = ""  # the one currency that stands with all numbers
    choices: tuple[str, ...] = ()  # the most frequent first
    of_parts: bool = False  # the cells are lists, and one of their elements is asked for

    @property
    def label(self) -> str:
        """The column's name as a person writes it."""
        return self.column.replace("_", " ")


@dataclass(frozen=True)
class Offer:
    """What a catalog offers to choose from."""

    controls: tuple[Control, ...] = ()
    cheapest: Mapping[str, Decimal] = field(default_factory=dict)  # by category, where prices stand


_known: WeakKeyDictionary[Catalog, Offer] = WeakKeyDictionary()


def offer_of(catalog: Catalog) -> Offer:
    """A control for each column of numbers, of yes and no, and of few texts. Raises CatalogError.

    Of each category as many products are looked at as a page can wait for, once for each catalog
    that is opened.
    """
    if catalog not in _known:
        _known[catalog] = _made(catalog)
    return _known[catalog]


def price_of(columns: Mapping[str, Any]) -> Decimal | None:
    """What a product costs, where its price says so."""
    return next((price for price, _ in _amounts([columns.get(PRICE_COLUMN)])), None)


def _made(catalog: Catalog) -> Offer:
    query = np.eye(1, EMBEDDING_SIZE, dtype=np.float32)[0]  # Any: with none nearer, all would tie.
    products = [
        product
        for category in catalog.category_counts
        for product in catalog.search(query, category, top=_LOOKED_AT).products
    ]
    controls = []
    for column in catalog.info.columns:
        cells = [product.columns.get(column) for product in products]
        control = _control(column, [cell for cell in cells if not is_missing(cell)])
        if control is not None:
            controls.append(control)
    cheapest: dict[str, Decimal] = {}
    for product in products:
        if (price := price_of(product.columns)) is not None:
            cheapest[product.category] = min(price, cheapest.get(product.category, price))
    return Offer(tuple(controls), cheapest)


def _control(column: str, cells: Sequence[Any]) -> Control | None:
    if not cells:
        return None
    if all(isinstance(cell, list | tuple) for cell in cells):
        parts = [str(part) for cell in cells for part in cell if not is_missing(part)]
        return _choice(column, parts, of_parts=True)
    if all(_truth(cell) is not None for cell in cells):
        return Control(column, Kind.TRUTH)
    amounts = list(_amounts(cells))
    if len(amounts) == len(cells):
        values = [value for value, _ in amounts]
        units = {unit for _, unit in amounts}
        unit = units.pop() if len(units) == 1 else ""
        least, most = min(values), max(values)
        if least == most:
            return None
        return Control(column, Kind.RANGE, least, most, unit)
    if all(isinstance(cell, str) for cell in cells):
        return _choice(column, cells)
    return None


def _choice(column: str, texts: Sequence[str], *, of_parts: bool = False) -> Control | None:
    counts: dict[str, int] = {}
    for text in texts:
        counts[text] = counts.get(text, 0) + 1
    if not 1 < len(counts) <= _MOST_CHOICES:
        return None
    choices = tuple(sorted(counts, key=lambda text: (-counts[text], text)))
    return Control(column, Kind.CHOICE, choices=choices, of_parts=of_parts)


def _truth(cell: Any) -> bool | None:
    if isinstance(cell, bool):
        return cell
    # A column of 0 and 1 alone counts pieces as well as it says yes and no.
    return read_truth(cell) if isinstance(cell, str) and not cell.strip().isdecimal() else None


def _amounts(cells: Iterable[Any]) -> Iterator[tuple[Decimal, str]]:
    """What cells say as numbers, and in which currency; it ends at one that says none."""
    for cell in cells:
        if isinstance(cell, bool):
            return
        if isinstance(cell, int | float | Decimal):
            yield Decimal(str(cell)), ""
        elif isinstance(cell, str) and (amount := read_amount(cell)) is not None:
            yield amount.value, amount.currency or ""
        else:
            return
