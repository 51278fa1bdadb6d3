"""What csv, pandas, polars and DuckDB write comes back cell by cell."""

import csv
import io

import duckdb
import pandas
import polars
import pytest
from completelook.products import read_products
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OWN = ("name", "size", "note")
# Any text a table can carry: surrogates are no characters, and NUL ends a text in DuckDB's C.
CELLS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.sampled_from(["007", "1e5", "0012345678905", "1.50", '"', '""', "a\r\nb", "\r", "\n", ","]),
    st.sampled_from(["nan", "NULL", "None", "true", "-0", "+1", " x ", "1_000", ";", "\t", "|"]),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
)
TABLES = st.lists(st.tuples(*[CELLS] * len(OWN)), min_size=1, max_size=8)


def write_with_csv(columns, path):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    path.write_bytes(text.getvalue().encode())


def write_with_pandas(columns, path):
    # It quotes no carriage return, so that one before a line end cannot be told from it.
    whole = {name: [cell.rstrip("\r") for cell in cells] for name, cells in columns.items()}
    columns.update(whole)
    pandas.DataFrame(columns, dtype="object").to_csv(path, index=False)


def write_with_polars(columns, path):
    polars.DataFrame(columns, schema=dict.fromkeys(columns, polars.String)).write_csv(path)


def write_with_duckdb(columns, path):
    frame = polars.DataFrame(columns, schema=dict.fromkeys(columns, polars.String))
    with duckdb.connect() as connection:
        connection.register("frame", frame.to_arrow())
        connection.sql("SELECT * FROM frame").write_csv(str(path))


def as_text(value):
    return "" if value is None else str(value)


@pytest.mark.parametrize(
    "write", [write_with_csv, write_with_pandas, write_with_polars, write_with_duckdb]
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cells=TABLES)
def test_cells_come_back_as_they_were(tmp_path, write, cells):
    count = len(cells)
    columns = {
        "id": [str(place) for place in range(count)],
        "image": ["a.jpg"] * count,
        "category": ["Rugs"] * count,
        **{name: list(column) for name, column in zip(OWN, zip(*cells, strict=True), strict=True)},
    }
    path = tmp_path / "shop.csv"
    write(columns, path)
    products = read_products(path)
    assert products.skipped == ()
    for name in OWN:
        assert [as_text(value) for value in products.table[name].to_pylist()] == columns[name]
