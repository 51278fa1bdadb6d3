"""A shop's table is held once: what looks at it, changes it or writes it does so part by part."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from completelook.catalog import prepare, write_catalog
from completelook.errors import CatalogError
from completelook.products import changed, only, order_of, taken
from completelook.storage.seal import Sealing
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.lists(st.lists(st.sampled_from(["", " a", "b", "ä", "b c", "zz"])), max_size=4)
COUNT = 20_000
_POOLS: list[Any] = []  # What is taken from one may outlive the test.


def chunked(chunks: list[list[str]]) -> Any:
    return pa.chunked_array(chunks, pa.string())


@contextmanager
def counted() -> Iterator[Any]:
    """What pyarrow takes of memory meanwhile."""
    usual = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(usual)
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(usual)


@pytest.fixture(scope="module")
def shop() -> pa.Table:
    names = [f"{number * 7919 % COUNT:05d}" for number in range(COUNT)]
    return pa.table(
        {
            "id": names,
            "image": [f"https://shop.example/{name}.jpg" for name in names],
            "category": ["Rugs" if int(name) % 3 else "Lamps" for name in names],
            "description": [f"A thing of which {name} is to be told." * 20 for name in names],
        }
    )


@given(chunks=TEXTS)
def test_a_changed_column_is_what_the_change_makes_of_each_cell(chunks: list[list[str]]) -> None:
    column = chunked(chunks)
    trimmed = changed(column, pc.utf8_trim_whitespace)
    assert trimmed.to_pylist() == [cell.strip() for cell in column.to_pylist()]


def test_a_column_without_change_takes_no_memory(shop: pa.Table) -> None:
    with counted() as pool:
        same = changed(shop["description"], pc.utf8_trim_whitespace)
    assert same.equals(shop["description"])
    assert pool.bytes_allocated() == 0
    assert pool.max_memory() < shop["description"].nbytes / 4


@given(chunks=TEXTS)
def test_ids_are_ordered_and_every_repetition_is_told(chunks: list[list[str]]) -> None:
    column = chunked(chunks)
    ids = column.to_pylist()
    order, repeats = order_of(column)
    assert order.tolist() == sorted(range(len(ids)), key=lambda row: ids[row].encode())
    found = [ids[row] for row in order]
    assert repeats.tolist() == [
        place > 0 and found[place - 1] == id_ for place, id_ in enumerate(found)
    ]


def test_a_repetition_is_told_wherever_it_stands() -> None:
    ids = [f"{number:05d}" for number in range(5000)]
    for place in (0, 1, 1023, 1024, 1025, 2048, 4999):
        _, repeats = order_of(chunked([[*ids, ids[place]]]))
        assert np.flatnonzero(repeats).tolist() == [place + 1]


@given(chunks=TEXTS, seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_what_is_kept_of_a_table_is_what_a_filter_keeps(
    chunks: list[list[str]], seed: int, share: float
) -> None:
    table = pa.table({"text": chunked(chunks)})
    is_kept = np.random.default_rng(seed).random(len(table)) < share
    assert only(table, is_kept).equals(table.filter(pa.array(is_kept, pa.bool_())))


def test_what_is_kept_is_the_same_with_few_gaps_and_with_many(shop: pa.Table) -> None:
    for every in (2, 3, 5000):
        is_kept = np.arange(len(shop)) % every > 0
        assert only(shop, is_kept).equals(shop.filter(pa.array(is_kept)))


@given(chunks=TEXTS, data=st.data())
def test_rows_are_taken_from_whichever_chunk_they_lie_in(
    chunks: list[list[str]], data: st.DataObject
) -> None:
    column = chunked([*chunks, ["last"]])
    rows = data.draw(st.lists(st.integers(0, len(column) - 1), min_size=1))
    cells = column.to_pylist()
    assert taken(column, np.array(rows)).to_pylist() == [cells[row] for row in rows]


def test_preparing_and_writing_hold_the_table_once(shop: pa.Table, tmp_path: Path) -> None:
    vectors = np.zeros((COUNT, 128), np.float32)
    vectors[:, 0] = 1
    with counted() as pool:
        shipment = prepare(shop, ("Rugs", "Lamps"))
        write_catalog(
            tmp_path / "c.arrow", shipment.table, vectors, model_id=1, categories=("Rugs", "Lamps")
        )
    # Of a million texts no second copy is made: what is taken is numbers, and a few rows at a time.
    assert pool.max_memory() < shop.nbytes / 4


@pytest.mark.parametrize("chunk_rows", [COUNT, 777])
def test_a_file_holds_each_product_in_its_place_with_its_embedding(
    shop: pa.Table, tmp_path: Path, chunk_rows: int
) -> None:
    parts = [shop.slice(start, chunk_rows) for start in range(0, COUNT, chunk_rows)]
    vectors = np.random.default_rng(0).standard_normal((COUNT, 128), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path = tmp_path / "c.arrow"
    write_catalog(path, pa.concat_tables(parts), vectors, model_id=1, categories=("Rugs", "Lamps"))
    held = pa.ipc.open_file(path.read_bytes()).read_all()
    order = sorted(range(COUNT), key=lambda row: (str(shop["category"][row]), str(shop["id"][row])))
    expected = shop.take(order).select(held.column_names[:-1])
    assert held.drop_columns("embedding").replace_schema_metadata(None).equals(expected)
    column: Any = held["embedding"].combine_chunks()
    found = column.flatten().to_numpy().reshape(-1, 128)
    np.testing.assert_array_equal(found, vectors[order])


def test_a_bad_embedding_in_the_midst_of_a_batch_leaves_no_file(
    shop: pa.Table, tmp_path: Path
) -> None:
    vectors = np.zeros((COUNT, 128), np.float32)
    vectors[:, 0] = 1
    vectors[4711] = 2
    with pytest.raises(CatalogError, match=f"product '{shop['id'][4711]}': its embedding has the"):
        write_catalog(tmp_path / "c.arrow", shop, vectors, model_id=1, categories=("Rugs",))
    assert not list(tmp_path.glob("*.arrow"))


def test_a_writer_that_copies_what_it_is_given_makes_no_catalog(
    shop: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a later pyarrow might: the places kept for texts and embeddings would stay empty."""
    write = Sealing.write
    monkeypatch.setattr(Sealing, "write", lambda file, content: write(file, bytes(content)))
    with pytest.raises(CatalogError, match="copies what it writes"):
        write_catalog(
            tmp_path / "shop.arrow",
            shop.slice(0, 10),
            np.eye(10, 128, dtype=np.float32),
            model_id=1,
            categories=("Rugs", "Lamps"),
        )
    assert not [*tmp_path.glob("*.arrow")]
