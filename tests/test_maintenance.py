"""Looking after catalogs: what one is, several made one, and what comes out for other programs."""

import csv
import hashlib
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pytest
from completelook import Catalog, CatalogError, ModelMismatch, UsageError, cli
from completelook.catalog import ArrowCatalog, describe, export, merge, write_catalog
from completelook.products import read_products

CATEGORIES = ("Home|Rugs", "Sofas")


def axis(index: int):
    return np.eye(128, dtype=np.float32)[index % 128]


def write(path: Path, ids: str, *, model_id: int = 1, category: str = "Sofas", **columns) -> Path:
    """Products of one letter each, the embedding of each along the axis of its letter."""
    path.parent.mkdir(exist_ok=True)
    table = pa.table(
        {
            "id": list(ids),
            "category": [category] * len(ids),
            "image": [str(path.parent.resolve() / f"{each}.jpg") for each in ids],
            **columns,
        }
    )
    embeddings = np.stack([axis(ord(each)) for each in ids])
    write_catalog(path, table, embeddings, model_id=model_id, categories=CATEGORIES)
    return path


def held(path: Path) -> dict[str, int]:
    """The ids of a catalog and the axis of each embedding, as it is found by id."""
    catalog = ArrowCatalog(path)
    ids = catalog.content.table()["id"].to_pylist()
    return {id_: int(catalog.get([id_]).embeddings[0].argmax()) for id_ in ids}


@pytest.fixture
def run(monkeypatch, capsys):
    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["completelook", "catalog", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run_command


def test_a_catalog_is_described_with_what_its_model_does_not_know(tmp_path, run) -> None:
    path = write(tmp_path / "c.arrow", "ab", category="Zoo", price=[1.5, None])
    found = describe(Catalog.open(path))
    assert found.products == 2
    assert (found.category_counts, found.unknown_categories) == ({"Zoo": 2}, ("Zoo",))
    assert found.columns == {"price": "double"}
    assert found.size_bytes == path.stat().st_size
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    code, out, _ = run("info", path)
    assert code == 0
    assert "2 products, model 0000000000000001" in out
    assert "Zoo (unknown to the model)" in out
    assert json.loads(run("info", path, "--json")[1])["sha256"] == found.sha256


def test_a_sound_catalog_is_said_to_be_and_a_flipped_bit_is_found(tmp_path, run) -> None:
    path = write(tmp_path / "c.arrow", "abc")
    assert run("validate", path)[:2] == (0, f"{path}: sound, 3 products\n")
    content = bytearray(path.read_bytes())
    content[content.index(axis(ord("b")).tobytes())] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    code, out, err = run("validate", path)
    assert (code, out) == (1, "")
    assert err.startswith("error:")
    assert str(path) in err


def test_parts_become_one_with_their_pictures_and_columns(tmp_path, run) -> None:
    one = write(tmp_path / "one" / "a.arrow", "ac", price=[1.0, 2.0])
    other = write(tmp_path / "other" / "b.arrow", "b", category="Home|Rugs", brand=["ACME"])
    code, _, err = run("merge", one, other, "--into", tmp_path / "all.arrow")
    assert (code, err) == (0, f"wrote {tmp_path / 'all.arrow'}: 3 products\n")
    assert held(tmp_path / "all.arrow") == {each: ord(each) for each in "abc"}
    merged = Catalog.open(tmp_path / "all.arrow")
    assert merged.model_id == 1
    assert merged.get(["a", "b"]).products[0].columns == {"price": 1.0, "brand": None}
    images = [product.image for product in merged.get(["a", "b"]).products]
    assert images == [str(tmp_path / "one" / "a.jpg"), str(tmp_path / "other" / "b.jpg")]


def test_a_product_that_parts_hold_alike_is_in_it_once(tmp_path) -> None:
    one, other = write(tmp_path / "a.arrow", "ab"), write(tmp_path / "b.arrow", "bc")
    assert merge([one, other], tmp_path / "all.arrow") == 3
    assert sorted(held(tmp_path / "all.arrow")) == ["a", "b", "c"]


@pytest.mark.parametrize("differs", ["column", "embedding"])
def test_unlike_products_of_one_id_are_an_error_unless_the_last_wins(tmp_path, differs) -> None:
    one = write(tmp_path / "a.arrow", "ab", price=[1.0, 2.0])
    other = write(tmp_path / "b.arrow", "b", price=[3.0 if differs == "column" else 2.0])
    if differs == "embedding":
        Catalog.open(other).upsert(Catalog.open(one).get(["b"]).products, axis(0)[np.newaxis])
    with pytest.raises(
        CatalogError, match=r"product 'b' is in .*a\.arrow and, otherwise, in .*b\.arrow"
    ):
        merge([one, other], tmp_path / "all.arrow")
    assert not (tmp_path / "all.arrow").exists()
    merge([one, other], tmp_path / "all.arrow", last_wins=True)
    merged = Catalog.open(tmp_path / "all.arrow").get(["b"])
    expected = Catalog.open(other).get(["b"])
    assert list(merged.products) == list(expected.products)
    assert (merged.embeddings == expected.embeddings).all()


def test_parts_of_several_models_are_refused(tmp_path) -> None:
    one, other = write(tmp_path / "a.arrow", "a"), write(tmp_path / "b.arrow", "b", model_id=2)
    with pytest.raises(ModelMismatch, match=r"0000000000000001.*0000000000000002"):
        merge([one, other], tmp_path / "all.arrow")


COLUMNS: dict[str, Any] = {
    "name": ['A "rug", red', "line\nbreak", None],
    "gtin": ["0012345678905", "007", ""],
    "price": [9.5, None, 0.25],
    "stock": [3, 2**53 + 1, None],
    "since": [date(2026, 1, 31), None, date(1970, 1, 1)],
    "sizes": [["S", "M"], [], None],
}
DAYS = ["2026-01-31", None, "1970-01-01"]
AS_TEXT = {
    "name": ['A "rug", red', "line\nbreak", ""],
    "gtin": ["0012345678905", "007", ""],
    "price": ["9.5", "", "0.25"],
    "stock": ["3", "9007199254740993", ""],
    "since": ["2026-01-31", "", "1970-01-01"],
    "sizes": ['["S", "M"]', "[]", ""],
}


def read(path: Path) -> list[dict[str, Any]]:
    """A table's rows, by what is not pyarrow where there is something."""
    if path.suffix == ".parquet":
        return polars.read_parquet(path).to_dicts()
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else list(map(json.loads, file))


@pytest.mark.parametrize(
    ("suffix", "columns"),
    [(".csv", AS_TEXT), (".parquet", COLUMNS), (".jsonl", COLUMNS | {"since": DAYS})],
)
@pytest.mark.parametrize("options", [[], ["--embeddings"]])
def test_what_is_exported_is_what_the_catalog_holds(
    tmp_path, run, suffix, columns, options
) -> None:
    path = write(tmp_path / "c.arrow", "abc", **COLUMNS)
    table = tmp_path / f"table{suffix}"
    assert run("export", path, table, *options)[0] == 0
    rows = read(table)
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert [row["image"] for row in rows] == [str(tmp_path / f"{each}.jpg") for each in "abc"]
    for name, cells in columns.items():
        assert [row[name] for row in rows] == cells
    assert ["embedding" in row for row in rows] == [bool(options)] * 3
    for row in rows if options else []:
        vector = row["embedding"]
        vector = json.loads(vector) if isinstance(vector, str) else vector
        assert vector == axis(ord(row["id"])).tolist()


def test_an_export_can_be_indexed_again(tmp_path) -> None:
    for each in "ab":
        (tmp_path / f"{each}.jpg").touch()
    catalog = Catalog.open(write(tmp_path / "c.arrow", "ab", price=["9.50", "007"]))
    export(catalog, tmp_path / "table.csv")
    products = read_products(tmp_path / "table.csv")
    assert products.table["price"].to_pylist() == ["9.50", "007"]
    assert products.table["id"].to_pylist() == ["a", "b"]


def test_another_ending_is_refused(tmp_path) -> None:
    catalog = Catalog.open(write(tmp_path / "c.arrow", "a"))
    with pytest.raises(UsageError, match=r"ends with \.csv, \.parquet, \.jsonl"):
        export(catalog, tmp_path / "table.xls")
