"""Conditions: what a cell answers, and that a store's fast way finds what the slow one does."""

import math
import tempfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from completelook.catalog import (
    Catalog,
    Comparison,
    Condition,
    Kind,
    parse_condition,
    write_catalog,
)
from completelook.errors import ConditionError
from completelook.products import Product
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import DictCatalog

ZONE = timezone(timedelta(hours=2))
ORDERS = ("=", "!=", "<", "<=", ">", ">=")


@pytest.mark.parametrize(
    ("text", "column", "comparison", "value"),
    [
        ("price<50", "price", "<", "50"),
        ("price <= 49.99 EUR", "price", "<=", "49.99 EUR"),
        ("brand=ACME & Sons", "brand", "=", "ACME & Sons"),
        ("brand == 'ACME'", "brand", "=", "ACME"),
        ("size!=a=b", "size", "!=", "a=b"),
        ("Google: in stock = true", "Google: in stock", "=", "true"),
        ("sizes has XL", "sizes", "has", "XL"),
        ("hash=has not", "hash", "=", "has not"),
        ("since>=2026-01-31", "since", ">=", "2026-01-31"),
    ],
)
def test_a_condition_is_a_column_a_comparison_and_a_value(text, column, comparison, value) -> None:
    assert parse_condition(text) == Condition(column, Comparison(comparison), value)


@pytest.mark.parametrize("text", ["price", "price<", "<50", "=", "", "price is 5", "brand=''"])
def test_a_text_that_is_no_condition_says_what_is_expected(text) -> None:
    with pytest.raises(ConditionError, match="expected"):
        parse_condition(text)


@pytest.mark.parametrize(("comparison", "value"), [("~", 5), ("=", None), ("=", math.nan)])
def test_a_condition_that_makes_no_sense_is_refused(comparison, value) -> None:
    with pytest.raises(ConditionError, match="expected"):
        Condition("price", comparison, value)


@pytest.mark.parametrize(
    ("condition", "cell", "met"),
    [
        ("price<50", "49.99 EUR", True),
        ("price<50", "50.00", False),
        ("price<50", "1.299,00 €", False),
        ("price<50", "on request", False),
        ("price<50 EUR", "49 USD", False),
        ("price<50 EUR", "49 €", True),
        ("price!=50 EUR", "50 USD", True),
        ("price=9.5", "9.50", True),
        ("price=49.99", Decimal("49.99"), True),
        ("price=49.99", 49.99, True),
        ("price<1e3", 999, True),
        ("price>-1", 0, True),
        ("gtin=12345678905", "0012345678905", False),
        ("gtin=0012345678905", "0012345678905", True),
        ("brand=ACME", "ACME", True),
        ("brand=ACME", "acme", False),
        ("brand!=ACME", "acme", True),
        ("in_stock=true", "in stock", True),
        ("in_stock=true", "preorder", False),
        ("in_stock!=true", "preorder", True),
        ("in_stock=false", "preorder", False),
        ("in_stock=yes", True, True),
        ("in_stock=true", 1, True),
        ("in_stock=no", 1, False),
        ("availability=preorder", "preorder", True),
        ("since>=2026-01-31", date(2026, 1, 31), True),
        ("since=2026-01-31", datetime(2026, 1, 31, 23), True),
        ("since>2026-01-31T12:00", datetime(2026, 1, 31, 23), True),
        ("since>2026-01-31T12:00", date(2026, 1, 31), False),
        ("since=2026-01-31T12:00+02:00", datetime(2026, 1, 31, 10), True),
        ("since=2026-01-31T12:00", datetime(2026, 1, 31, 12, tzinfo=ZONE), True),
        ("since<2026-02-01", "2026-01-31T23:59:00+01:00", True),
        ("since<2026-02-01", "soon", False),
        ("sizes has M", ["S", "M"], True),
        ("sizes has M", ["S", "M, L"], False),
        ("sizes has 40", [39.5, 40.0], True),
        ("sizes has M", [], False),
        ("sizes has M", [None, "M"], True),
        ("tags has red", "blue, red; green", True),
        ("tags has red", "reddish", False),
    ],
)
def test_a_cell_answers_a_condition(condition, cell, met) -> None:
    assert parse_condition(condition).matches(cell) is met


@pytest.mark.parametrize("cell", [None, math.nan, "", "  ", Decimal("nan")])
@pytest.mark.parametrize("comparison", [*ORDERS, "has"])
def test_a_missing_cell_meets_no_condition(comparison, cell) -> None:
    assert not Condition("price", comparison, 5).matches(cell)


@pytest.mark.parametrize(
    ("condition", "cells", "expected"),
    [
        ("n<dear", [1], "number such as"),
        ("n<2026-01-31", [1.5], "number such as"),
        ("n<true", [1], "number such as"),
        ("n has 5", [1], "lists and texts"),
        ("n<true", [True], "expected = or !="),
        ("n=5", [date(2026, 1, 31)], "date such as"),
        ("n=dear", [True], "true or false"),
        ("n<dear", ["x"], "a number or a date"),
        ("n<true", ["x"], "a number or a date"),
        ("n=M", [["M"]], "`n has VALUE`"),
        ("n has M", [[{"a": 1}]], "cannot be compared"),
        ("n=1", [b"x"], "cannot be compared"),
        ("n=1", [{"a": 1}], "cannot be compared"),
        ("n<50", ["ACME", None], "none of them says a number: the first is 'ACME'"),
        ("n<2026-01-31", [" ", "ACME"], "none of them says a date: the first is 'ACME'"),
        ("nn=1", ["x"], "no column 'nn': did you mean 'n'\\? It has 'id', 'category', 'n'"),
    ],
)
def test_what_cannot_be_asked_says_what_can(tmp_path, condition, cells, expected) -> None:
    catalog = catalog_of(tmp_path, n=pa.array(cells))
    with pytest.raises(ConditionError, match=expected):
        search(catalog, condition)


def catalog_of(folder, **columns) -> Catalog:
    """Rugs p000 and on, nearest first to the query, among as many products of other categories."""
    count = len(next(iter(columns.values())))
    ids = [f"p{row:03d}" for row in range(count)]
    own = pa.table(columns)
    table = pa.concat_tables([own, own, own])
    table = table.append_column(
        "id", pa.array([f"a{each}" for each in ids] + ids + [f"z{each}" for each in ids])
    )
    table = table.append_column(
        "category", pa.array(["A"] * count + ["Rugs"] * count + ["Z"] * count)
    )
    table = table.append_column("image", pa.array(["x.jpg"] * 3 * count))
    embeddings = np.zeros((3 * count, 128), np.float32)
    embeddings[:, 0] = np.tile(np.linspace(1, 0, count), 3)
    embeddings[:, 1] = np.sqrt(1 - embeddings[:, 0] ** 2)
    path = Path(folder) / "c.arrow"
    write_catalog(path, table, embeddings, model_id=1, categories=("Rugs",))
    return Catalog.open(path)


def search(catalog, *where, top=1000) -> list[str]:
    query = np.eye(128, dtype=np.float32)[0]
    return [each.id for each in catalog.search(query, "Rugs", top=top, where=where).products]


TEXTS = st.one_of(
    st.sampled_from(["ACME", "true", "no", "in stock", "9.5", "9.50 EUR", "10 €", "007", "", " "]),
    st.sampled_from(["2026-01-31", "2026-01-31T12:00", "a, b;c", "b", "1.299,00", "1299"]),
    st.text(max_size=3),
)
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, -(2**63)]))
FLOATS = st.one_of(st.floats(width=64), st.sampled_from([0.5, 49.99, 0.1, 2.0]))
MOMENTS = st.datetimes(datetime(2026, 1, 30), datetime(2026, 2, 1)).map(
    lambda moment: moment.replace(microsecond=0, minute=0, second=0)
)
# What cells of a column are, its type, and values that may be asked of it.
COLUMNS: dict[str, Any] = {
    "int64": (NUMBERS, pa.int64(), NUMBERS | FLOATS.filter(math.isfinite)),
    "uint8": (st.integers(0, 3), pa.uint8(), st.integers(-300, 300)),
    "double": (FLOATS, pa.float64(), NUMBERS | FLOATS.filter(math.isfinite)),
    "decimal": (
        st.decimals(-5, 5, places=2),
        pa.decimal128(6, 2),
        st.sampled_from(["1.5", "2.50 EUR", 0.1]),
    ),
    "bool": (st.booleans(), pa.bool_(), st.booleans() | st.sampled_from(["yes", "0"])),
    "date": (st.dates(date(2026, 1, 30), date(2026, 2, 1)), pa.date32(), MOMENTS),
    "timestamp": (MOMENTS, pa.timestamp("ns"), MOMENTS | MOMENTS.map(datetime.date)),
    "zoned": (
        MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
        pa.timestamp("us", "+02:00"),
        MOMENTS | MOMENTS.map(lambda moment: moment.replace(tzinfo=ZONE)),
    ),
    "text": (TEXTS, pa.string(), TEXTS.filter(str.strip)),
    "categories": (TEXTS, pa.dictionary(pa.int32(), pa.string()), TEXTS.filter(str.strip)),
    "texts": (
        st.lists(TEXTS | st.none(), max_size=3),
        pa.list_(pa.string()),
        TEXTS.filter(str.strip),
    ),
    "pairs": (
        st.lists(NUMBERS, min_size=2, max_size=2),
        pa.list_(pa.int64(), 2),
        NUMBERS,
    ),
}


def comparisons_of(kind) -> list[str]:
    if pa.types.is_nested(kind):
        return ["has"]
    if pa.types.is_boolean(kind):
        return ["=", "!="]
    return [*ORDERS, "has"] if is_text(kind) else list(ORDERS)


def is_text(kind) -> bool:
    return pa.types.is_string(kind) or pa.types.is_dictionary(kind)


@pytest.mark.parametrize("name", COLUMNS)
@given(data=st.data())
@settings(max_examples=60)
def test_an_arrow_file_finds_exactly_what_a_look_at_every_cell_finds(name, data) -> None:
    cells, kind, values = COLUMNS[name]
    column = pa.array(data.draw(st.lists(cells | st.none(), min_size=1, max_size=12)), kind)
    comparisons = st.sampled_from(comparisons_of(kind))
    where = data.draw(
        st.lists(st.builds(Condition, st.just("n"), comparisons, values), min_size=1, max_size=2)
    )
    top = data.draw(st.integers(1, 14))
    with tempfile.TemporaryDirectory() as folder:
        catalog = catalog_of(folder, n=column)
        try:
            found = search(catalog, *where, top=top)
        except ConditionError:  # Texts that say no number; which ones has a test of its own.
            assert is_text(kind)
            assert any(condition.comparison in ORDERS[2:] for condition in where)
            return
    met = [
        f"p{row:03d}"
        for row, cell in enumerate(column.to_pylist())
        if all(condition.matches(cell) for condition in where)
    ]
    assert found[: len(met)] == met[: len(found)]
    assert len(found) == min(top, len(met))


@pytest.mark.parametrize(
    ("kind", "value"),
    [(pa.float32(), "49.99"), (pa.float64(), "49.99")],
)
def test_a_number_is_compared_in_the_precision_of_its_column(tmp_path, kind, value) -> None:
    catalog = catalog_of(tmp_path, n=pa.array([float(value)], kind))
    assert search(catalog, f"n={value}") == ["p000"]


def test_an_expression_of_pyarrow_is_a_condition_too(tmp_path) -> None:
    catalog = catalog_of(tmp_path, n=[1, 2, 3, None], m=["a", "b", "c", "d"])
    expression = (pc.field("n") + 1 < 4) & (pc.field("m") != "a")
    assert search(catalog, expression) == ["p001"]
    assert search(catalog, expression, "n<2") == []


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (pc.field("o") < 2, "the columns are 'id', 'category', 'image', 'n'"),
        (pc.field("id") < 2, "no kernel"),
        (pc.field("n") + 1, "expected true or false"),
    ],
)
def test_an_expression_that_cannot_be_answered_is_an_error(tmp_path, expression, message) -> None:
    with pytest.raises(ConditionError, match=message):
        search(catalog_of(tmp_path, n=[1, 2]), expression)


def test_a_store_that_takes_no_expressions_says_so() -> None:
    store = DictCatalog(1, ("Rugs",))
    store.upsert([Product("a", "Rugs", "a.jpg")], np.eye(1, 128, dtype=np.float32))
    with pytest.raises(ConditionError, match="a dict takes no expressions"):
        search(store, pc.field("id") == "a")


def test_the_kind_of_a_value_is_told_for_stores_with_kinds_of_their_own() -> None:
    condition = parse_condition("n<=49.99 EUR")
    assert condition.wanted(Kind.NUMBER) == Decimal("49.99")
    with pytest.raises(ConditionError):
        condition.wanted(Kind.MOMENT)
