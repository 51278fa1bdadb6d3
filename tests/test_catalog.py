import tempfile
from pathlib import Path

import numpy as np
import polars
import pyarrow as pa
import pytest
from completelook.catalog.arrow import Catalog, write_catalog
from completelook.errors import CatalogError, CategoryError, ModelMismatch
from completelook.images.decode import load_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

MODEL_ID = 2**62 + 5
MODEL = ("Home|Rugs", "Home|Lämps")


def products(*rows, folder="/pictures"):
    names = ("id", "image", "category", "price")
    return pa.Table.from_pylist(
        [
            dict(zip(names, (id_, f"{folder}/{id_}.jpg", category, price), strict=True))
            for id_, category, price in rows
        ]
    )


ROWS = (("b", "Home|Rugs", 2.0), ("c", "Chairs", 3.0), ("a", "Home|Rugs", None), ("d", "Zoo", 4.0))


def vectors(count):
    """Row k is all k."""
    return np.repeat(np.arange(count, dtype=np.float32), 128).reshape(count, 128)


def written(path, table=None, model_id=MODEL_ID):
    table = products(*ROWS) if table is None else table
    write_catalog(path, table, vectors(len(table)), model_id=model_id, categories=MODEL)
    return Catalog.open(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.arrow"


def test_rows_are_sorted_by_category_then_id_with_their_vectors(path):
    catalog = written(path)
    assert len(catalog) == 4
    assert catalog.table.column_names == ["id", "category", "image", "price", "embedding"]
    assert catalog.ids.to_pylist() == ["c", "a", "b", "d"]
    assert catalog.column("price").to_pylist() == [3.0, None, 2.0, 4.0]
    assert catalog.embeddings[:, 0].tolist() == [1, 2, 0, 3]
    assert catalog.embeddings.shape == (4, 128)
    assert catalog.embeddings.dtype == np.float32


def test_a_catalog_knows_its_model(path):
    catalog = written(path)
    assert catalog.model_id == MODEL_ID
    assert catalog.categories.names == MODEL
    assert catalog.path == path


def test_a_slice_is_the_run_of_its_category(path):
    rugs = written(path).slice("Home|Rugs")
    assert (rugs.category, rugs.first_row, len(rugs)) == ("Home|Rugs", 1, 2)
    assert rugs.ids.to_pylist() == ["a", "b"]
    assert rugs.images.to_pylist() == ["/pictures/a.jpg", "/pictures/b.jpg"]
    assert rugs.embeddings[:, 127].tolist() == [2, 0]


def test_embeddings_are_views_of_the_mapped_file(path):
    catalog = written(path)
    assert not catalog.embeddings.flags.owndata
    assert not catalog.embeddings.flags.writeable
    assert np.shares_memory(catalog.slice("Zoo").embeddings, catalog.embeddings)
    # Opening reads no column: pyarrow has nothing allocated beside the map.
    assert catalog.table["embedding"].chunk(0).buffers()[-1].parent is not None


def test_counts_follow_the_order_of_the_rows(path):
    assert list(written(path).category_counts.items()) == [
        ("Chairs", 1),
        ("Home|Rugs", 2),
        ("Zoo", 1),
    ]


def test_a_row_holds_the_users_columns_and_no_embedding(path):
    assert written(path).row(1) == {
        "id": "a",
        "category": "Home|Rugs",
        "image": "/pictures/a.jpg",
        "price": None,
    }


def test_an_absent_category_is_an_error_that_lists_what_is_there(path):
    with pytest.raises(CategoryError, match=r"no products of 'Home.Lämps'.*'Chairs', 'Home.Rugs'"):
        written(path).slice("Home|Lämps")


def test_an_absent_column_is_an_error_that_lists_what_is_there(path):
    with pytest.raises(CatalogError, match=r"no column 'prize'.*price"):
        written(path).column("prize")


def test_a_catalog_moves_with_the_pictures_below_its_folder(tmp_path):
    shop = tmp_path / "shop"
    (shop / "pictures").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(shop / "pictures" / "a.png")
    table = products(("a", "Zoo", 1.0)).set_column(
        1, "image", pa.array([str(shop / "pictures" / "a.png")])
    )
    assert written(shop / "shop.arrow", table).row(0)["image"] == "pictures/a.png"
    catalog = Catalog.open(shop.rename(tmp_path / "moved") / "shop.arrow")
    assert (load_image(catalog.image_source(0)) == (255, 0, 0)).all()


@pytest.mark.parametrize("image", ["https://shop.example/a.jpg", "/elsewhere/a.jpg"])
def test_urls_and_pictures_elsewhere_stay_as_they_are(path, image):
    table = products(("a", "Zoo", 1.0)).set_column(1, "image", pa.array([image]))
    catalog = written(path, table)
    assert catalog.image_source(0) == catalog.row(0)["image"] == image


def test_an_image_source_does_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written("shop.arrow", products(("a", "Zoo", 1.0), folder=tmp_path))
    assert Catalog.open("shop.arrow").image_source(0) == str(tmp_path / "a.jpg")


def test_polars_opens_a_catalog(path):
    written(path)
    frame = polars.read_ipc(path)
    assert frame["id"].to_list() == ["c", "a", "b", "d"]
    assert frame["embedding"].dtype == polars.Array(polars.Float32, 128)
    assert frame["embedding"].to_numpy().sum(axis=1).tolist() == [128, 256, 0, 384]


def test_the_file_is_one_uncompressed_batch_with_readable_metadata(path):
    written(path)
    with pa.ipc.open_file(path) as reader:
        assert reader.num_record_batches == 1
        metadata = reader.schema.metadata
    assert metadata == {
        b"completelook.format": b"1",
        b"completelook.model_id": b"4000000000000005",
        b"completelook.categories": '["Home|Rugs", "Home|Lämps"]'.encode(),
    }
    assert vectors(4)[3].tobytes() in path.read_bytes()


def test_the_catalogs_own_model_is_accepted(path):
    written(path).require_model(MODEL_ID, "localhost:8001")


def test_another_model_is_refused_with_both_ids_and_the_mending_command(path):
    with pytest.raises(ModelMismatch) as caught:
        written(path).require_model(7, "gpu:8001")
    message = str(caught.value)
    assert "4000000000000005" in message
    assert "0000000000000007" in message
    assert f"`completelook index PRODUCTS --catalog {path} --server gpu:8001`" in message


def test_a_new_catalog_replaces_an_old_one_while_that_is_open(path):
    old = written(path)
    written(path, products(("z", "Zoo", 1.0)), model_id=1)
    assert len(Catalog.open(path)) == 1
    assert old.embeddings[:, 0].tolist() == [1, 2, 0, 3]


def write_bytes(path, content):
    path.write_bytes(content)


def write_arrow(path, table):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def rewrite(path, change):
    table = written(path).table
    write_arrow(path, change(table))


def with_metadata(table, **changes):
    changed = {f"completelook.{key}".encode(): value for key, value in changes.items()}
    return table.replace_schema_metadata({**table.schema.metadata, **changed})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda _: None, "no such catalog: make one with", id="missing"),
        pytest.param(lambda path: path.mkdir(), "no such catalog", id="folder"),
        pytest.param(lambda path: path.touch(), "not a catalog", id="empty"),
        pytest.param(lambda path: write_bytes(path, b"id,image"), "not a catalog", id="csv"),
        pytest.param(
            lambda path: write_arrow(path, products(*ROWS)),
            "metadata lacks completelook.categories",
            id="other arrow file",
        ),
        pytest.param(
            lambda path: rewrite(path, lambda table: with_metadata(table, format=b"2")),
            "of format 2, expected 1",
            id="later format",
        ),
        pytest.param(
            lambda path: rewrite(path, lambda table: table.drop_columns("embedding")),
            "without its column 'embedding'",
            id="no embeddings",
        ),
        pytest.param(
            lambda path: rewrite(path, lambda table: table.slice(0, 0)), "one record", id="no rows"
        ),
        pytest.param(
            lambda path: rewrite(path, lambda table: pa.concat_tables([table, table])),
            "one record batch",
            id="two batches",
        ),
        pytest.param(
            lambda path: rewrite(path, lambda table: table.take([1, 0, 2, 3])),
            "not sorted by category",
            id="unsorted",
        ),
    ],
)
def test_what_is_no_catalog_is_refused(path, spoil, message):
    spoil(path)
    with pytest.raises(CatalogError, match=message) as caught:
        Catalog.open(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_catalog_is_refused(path, share):
    written(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CatalogError, match="a part of one"):
        Catalog.open(path)


def test_writing_never_destroys_what_is_no_catalog(path):
    path.write_text("id,image,category\n")
    with pytest.raises(CatalogError, match="is not a catalog: give another name"):
        written(path)
    assert path.read_text() == "id,image,category\n"


def test_a_catalog_without_products_replaces_nothing(path):
    written(path)
    before = path.read_bytes()
    with pytest.raises(CatalogError):
        written(path, products(*ROWS).slice(0, 0))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("place", "message"), [("none/shop.arrow", "cannot be written"), ("", "is a folder")]
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place, message):
    with pytest.raises(CatalogError, match=message):
        written(tmp_path / place)


texts = st.text(min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(texts, texts, st.none() | st.floats(allow_nan=False)),
        min_size=1,
        max_size=12,
        unique_by=lambda row: row[0],
    )
)
def test_a_catalog_gives_back_what_was_put_in(rows):
    with tempfile.TemporaryDirectory() as folder:
        catalog = written(Path(folder) / "shop.arrow", products(*rows))
        by_id = {row[0]: index for index, row in enumerate(rows)}
        seen = 0
        for category, count in catalog.category_counts.items():
            part = catalog.slice(category)
            assert len(part) == count == sum(row[1] == category for row in rows)
            assert part.ids.to_pylist() == sorted(part.ids.to_pylist(), key=str.encode)
            for offset, id_ in enumerate(part.ids.to_pylist()):
                assert (part.embeddings[offset] == by_id[id_]).all()
                assert rows[by_id[id_]][1:] == (
                    category,
                    catalog.row(part.first_row + offset)["price"],
                )
            seen += count
        assert seen == len(rows)
