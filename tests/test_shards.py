"""Shards: one table embedded on many machines."""

import pyarrow as pa
import pytest
from completelook.catalog import (
    Catalog,
    Shard,
    failures_path,
    in_shard,
    index,
    merge,
    parse_shard,
    prepare,
)
from completelook.errors import UsageError
from hypothesis import given
from hypothesis import strategies as st
from test_indexing import MODEL, FakeLook, shop

__all__ = ["shop"]  # the fixture


@given(ids=st.lists(st.text(), unique=True), count=st.integers(1, 9))
def test_each_product_is_in_one_shard_whatever_else_there_is(ids, count) -> None:
    shards = list(Shard(1, count).all())
    assert [str(shard) for shard in shards] == [f"{n}-of-{count}" for n in range(1, count + 1)]
    assert all(sum(shard.holds(each) for shard in shards) == 1 for each in ids)


def test_a_products_shard_is_the_same_on_every_machine_and_version() -> None:
    held = [[each for each in "abcdefgh" if shard.holds(each)] for shard in Shard(1, 3).all()]
    assert held == [["c", "f"], ["g", "h"], ["a", "b", "d", "e"]]


def test_shards_are_of_about_one_size() -> None:
    sizes = [
        sum(shard.holds(f"sku-{number}") for number in range(4000)) for shard in Shard(1, 4).all()
    ]
    assert min(sizes) > 900


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "-1/2", "1/2/3", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(text) -> None:
    with pytest.raises(UsageError, match="expected I/N"):
        parse_shard(text)


def test_parts_account_for_all_that_was_given(shop) -> None:
    (shop.parent / "2.png").unlink()
    whole = prepare(shop, MODEL)
    parts = [in_shard(whole, shard) for shard in Shard(1, 3).all()]
    together = pa.concat_tables([part.table for part in parts]).sort_by("id")
    assert together == whole.table.sort_by("id")
    assert sorted(row for part in parts for row in part.rows) == list(whole.rows)
    assert [skip for part in parts for skip in part.skipped] == list(whole.skipped)
    assert sum(part.rankable for part in parts) == whole.rankable


def test_a_shard_of_a_file_is_a_file_with_a_ledger_and_failures_of_its_own(shop, tmp_path) -> None:
    path = tmp_path / "my.arrow"
    (shop.parent / "1.png").write_bytes(b"no picture")
    for shard in Shard(1, 2).all():
        report = index(shop, path, FakeLook(), shard=shard)
        part = Catalog.open(tmp_path / f"my.{shard}.arrow")
        assert report.indexed == len(part)
        assert failures_path(path, shard).exists() == shard.holds("001")
        assert index(shop, path, FakeLook(), shard=shard).reused == report.indexed
    assert not path.exists()
    assert merge(sorted(tmp_path.glob("my.*-of-2.arrow")), path) == 4
    index(shop, tmp_path / "whole.arrow", FakeLook())
    assert path.read_bytes() == (tmp_path / "whole.arrow").read_bytes()
