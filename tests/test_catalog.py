import os
import tempfile
from pathlib import Path

import numpy as np
import polars
import pyarrow as pa
import pytest
from completelook import files
from completelook.catalog import ArrowCatalog, Catalog, write_catalog
from completelook.errors import CatalogError, CategoryError, ModelMismatch, UsageError
from completelook.images import load_image
from completelook.products import Product
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stores import DictCatalog

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
    """Row k is the unit vector along axis k."""
    return np.eye(128, dtype=np.float32)[:count]


def written(path, table=None, embeddings=None, *, model_id=MODEL_ID):
    table = products(*ROWS) if table is None else table
    embeddings = vectors(len(table)) if embeddings is None else embeddings
    write_catalog(path, table, embeddings, model_id=model_id, categories=MODEL)
    return Catalog.open(path)


def large(count=2000):
    """Products of three categories, several blocks of them, and their embeddings."""
    generator = np.random.default_rng(0)
    rows = [(f"p{number:05d}", "ABC"[number % 3], float(number)) for number in range(count)]
    embeddings = generator.standard_normal((count, 128)).astype(np.float32)
    return products(*rows), embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def stored(path):
    """The file's table, as any program sees it."""
    return pa.ipc.open_file(path).read_all()


def values(catalog, *ids):
    """The axis of each product's embedding."""
    return catalog.get(ids).embeddings.argmax(axis=1).tolist()


def axis(index):
    return np.eye(128, dtype=np.float32)[index]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.arrow"


def test_rows_are_sorted_by_category_then_id_with_their_vectors(path):
    catalog = written(path)
    table = stored(path)
    assert len(catalog) == 4
    assert table.column_names == ["id", "category", "image", "price", "embedding"]
    assert table["id"].to_pylist() == ["c", "a", "b", "d"]
    assert table["price"].to_pylist() == [3.0, None, 2.0, 4.0]
    assert [np.argmax(vector) for vector in table["embedding"].to_pylist()] == [1, 2, 0, 3]


def test_a_catalog_knows_its_model(path):
    catalog = written(path)
    assert catalog.model_id == MODEL_ID
    assert catalog.categories.names == MODEL
    assert catalog.info.location == str(path)
    assert catalog.info.columns == ("price",)


def test_products_come_back_by_id_in_the_order_asked_for(path):
    hits = written(path).get(["b", "c", "a"])
    assert hits.embeddings.argmax(axis=1).tolist() == [0, 1, 2]
    assert list(hits.products) == [
        Product("b", "Home|Rugs", "/pictures/b.jpg", {"price": 2.0}),
        Product("c", "Chairs", "/pictures/c.jpg", {"price": 3.0}),
        Product("a", "Home|Rugs", "/pictures/a.jpg", {"price": None}),
    ]
    assert list(hits.products[1:]) == list(hits.products)[1:]


def test_an_id_that_is_not_there_is_an_error_that_names_it(path):
    with pytest.raises(CatalogError, match="holds no product 'x'"):
        written(path).get(["a", "x"])


def test_opening_reads_no_column_and_a_search_reads_its_category_alone(path):
    catalog = written(path, *large(4000))
    blocks = catalog._content.file._is_checked
    assert not blocks.any()
    catalog.search(axis(0), "B", top=1)
    assert 0 < blocks.sum() < len(blocks) / 2
    (_, vectors), *_ = catalog._content.vectors(slice(0, 5))
    assert not vectors.flags.owndata
    assert not vectors.flags.writeable


def test_counts_follow_the_order_of_the_rows(path):
    assert list(written(path).category_counts.items()) == [
        ("Chairs", 1),
        ("Home|Rugs", 2),
        ("Zoo", 1),
    ]


def test_an_absent_category_is_an_error_that_lists_what_is_there(path):
    with pytest.raises(CategoryError, match=r"no products of 'Home.Lämps'.*'Chairs', 'Home.Rugs'"):
        written(path).search(axis(0), "Home|Lämps", top=1)


@pytest.mark.parametrize(
    ("columns", "wanted", "shown"),
    [
        (["price"], [], ()),
        (["title", "Name"], [], ("Name",)),
        (["price", "Title"], ["price"], ("Title", "price")),
        (["name", "price"], ["price", "name", "price"], ("name", "price")),
    ],
)
def test_a_product_is_shown_by_its_name_and_what_is_wanted(path, columns, wanted, shown):
    table = products(*ROWS).drop_columns("price")
    for column in columns:
        table = table.append_column(column, pa.array(["x"] * 4))
    assert written(path, table).columns_to_show(wanted) == shown


def test_a_wanted_column_that_is_not_there_is_an_error_that_lists_what_is(path):
    with pytest.raises(CatalogError, match=r"no column 'prize': it has 'price'"):
        written(path).columns_to_show(["prize"])


def test_a_catalog_moves_with_the_pictures_below_its_folder(tmp_path):
    shop = tmp_path / "shop"
    (shop / "pictures").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(shop / "pictures" / "a.png")
    table = products(("a", "Zoo", 1.0)).set_column(
        1, "image", pa.array([str(shop / "pictures" / "a.png")])
    )
    written(shop / "shop.arrow", table)
    assert stored(shop / "shop.arrow")["image"].to_pylist() == ["pictures/a.png"]
    catalog = Catalog.open(shop.rename(tmp_path / "moved") / "shop.arrow")
    assert (load_image(catalog.get(["a"]).products[0].image) == (255, 0, 0)).all()


@pytest.mark.parametrize("image", ["https://shop.example/a.jpg", "/elsewhere/a.jpg"])
def test_urls_and_pictures_elsewhere_stay_as_they_are(path, image):
    table = products(("a", "Zoo", 1.0)).set_column(1, "image", pa.array([image]))
    catalog = written(path, table)
    assert catalog.get(["a"]).products[0].image == stored(path)["image"][0].as_py() == image


def test_an_image_does_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written("shop.arrow", products(("a", "Zoo", 1.0), folder=tmp_path))
    assert Catalog.open("shop.arrow").get(["a"]).products[0].image == str(tmp_path / "a.jpg")


def test_polars_opens_a_catalog(path):
    written(path)
    frame = polars.read_ipc(path)
    assert frame["id"].to_list() == ["c", "a", "b", "d"]
    assert frame["embedding"].dtype == polars.Array(polars.Float32, 128)
    assert frame["embedding"].to_numpy().argmax(axis=1).tolist() == [1, 2, 0, 3]


def test_the_file_is_uncompressed_with_readable_metadata(path):
    written(path)
    assert stored(path).schema.metadata == {
        b"completelook.format": b"2",
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
    assert values(old, "c", "a", "b", "d") == [1, 2, 0, 3]


def test_a_reader_sees_a_new_catalog_once_it_asks_for_it(path):
    reader = written(path)
    assert not reader.refresh()
    written(path, products(("z", "Zoo", 1.0)), model_id=1)
    assert len(reader) == 4
    assert reader.refresh()
    assert (len(reader), reader.model_id) == (1, 1)
    path.unlink()
    with pytest.raises(CatalogError, match="no such catalog"):
        reader.refresh()
    assert values(reader, "z") == [0]


def write_bytes(path, content):
    path.write_bytes(content)


def replace(path, content):
    path.unlink()
    path.write_bytes(content)


def ids(hits):
    return [product.id for product in hits.products]


def write_arrow(path, table):
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def rewrite(path, change):
    written(path)
    table = stored(path)
    path.unlink()
    write_arrow(path, change(table))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda _: None, "no such catalog: make one with", id="missing"),
        pytest.param(lambda path: path.mkdir(), "no such catalog", id="folder"),
        pytest.param(lambda path: path.touch(), "not a catalog", id="empty"),
        pytest.param(lambda path: write_bytes(path, b"id,image"), "not a catalog", id="csv"),
        pytest.param(
            lambda path: write_arrow(path, products(*ROWS)), "not a catalog", id="other arrow file"
        ),
        pytest.param(
            lambda path: rewrite(path, lambda table: table), "not a catalog", id="made by another"
        ),
    ],
)
def test_what_is_no_catalog_is_refused(path, spoil, message):
    spoil(path)
    with pytest.raises(CatalogError, match=message) as caught:
        Catalog.open(path)
    assert str(path) in str(caught.value)


def test_many_batches_answer_as_one(path, monkeypatch):
    table, embeddings = large(400)
    table = table.append_column(
        "brand", pa.array(["x", None, "y", "x"] * 100).dictionary_encode()
    ).append_column("tags", pa.array([["a"], None, [], ["b", "c"]] * 100))
    one = written(path.with_name("one.arrow"), table, embeddings)
    monkeypatch.setattr("completelook.storage.writer._BATCH_ROWS", 30)
    many = written(path, table, embeddings)
    with pa.ipc.open_file(path) as reader:
        assert reader.num_record_batches == 15  # 134, 133 and 133 rows of each category
    assert stored(path).combine_chunks() == stored(one.path).combine_chunks()
    some = [f"p{number:05d}" for number in (399, 7, 0, 100, 8)]
    for catalog in (one, many):
        catalog.upsert([Product("p00007", "D", "/new.jpg", {"price": 1.0})], axis(5)[np.newaxis])
        catalog.delete(["p00003", "none"])
        catalog.validate()
    assert list(many.get(some).products) == list(one.get(some).products)
    assert many.get(some).cells("tags") == one.get(some).cells("tags")
    np.testing.assert_array_equal(many.get(some).embeddings, one.get(some).embeddings)
    for category in "ABCD":
        for where in ([], ["brand=x"], ["price<0"]):
            found, expected = (
                each.search(embeddings[3], category, top=20, where=where) for each in (many, one)
            )
            assert ids(found) == ids(expected)


@pytest.mark.parametrize("page_bytes", [1, 1000, 4096, 1 << 20])
def test_the_size_of_the_pieces_written_changes_no_byte(path, monkeypatch, page_bytes):
    table, embeddings = large(400)
    expected = written(path, table, embeddings).path.read_bytes()
    monkeypatch.setattr("completelook.storage.seal._PAGE_BYTES", page_bytes)
    assert written(path, table, embeddings).path.read_bytes() == expected


def test_half_precision_is_half_the_file_and_ranks_as_its_rounded_embeddings(path):
    table, embeddings = large()
    whole = written(path.with_name("whole.arrow"), table, embeddings).path.stat().st_size
    write_catalog(path, table, embeddings, model_id=1, categories=MODEL, half=True)
    catalog = Catalog.open(path)
    rounded = embeddings.astype(np.float16).astype(np.float32)
    catalog.delete(["p00001"])  # which keeps the precision
    assert path.stat().st_size < 0.6 * whole
    np.testing.assert_array_equal(catalog.get(["p00007"]).embeddings, rounded[[7]])
    found = catalog.search(embeddings[9], "A", top=5)
    nearest = 3 * np.argsort(-rounded[::3] @ embeddings[9])[:5]
    assert sorted(ids(found)) == [f"p{row:05d}" for row in sorted(nearest)]


def refused_or_the_same(path, expected):
    """Whether a catalog is refused by what `expected` was asked of it, and answers alike if not."""
    try:
        catalog = ArrowCatalog(path)
        answers = [ids(catalog.search(axis(0), category, top=5)) for category in "ABC"]
        names = [product.columns for product in catalog.get(["p00000", "p01999"]).products]
        catalog.validate()
    except CatalogError:
        return True
    assert (answers, names) == expected
    return False


def test_no_flipped_bit_and_no_cut_gives_another_answer(path):
    catalog = written(path, *large())
    answers = [ids(catalog.search(axis(0), category, top=5)) for category in "ABC"]
    names = [product.columns for product in catalog.get(["p00000", "p01999"]).products]
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    # As many within the first and last bytes, where everything hangs on one, as in all the rest.
    places = [*generator.integers(0, len(content), 100), *range(50), *range(-50, 0)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << generator.integers(8)
        replace(path, flipped)
        assert refused_or_the_same(path, (answers, names))
    for size in range(0, len(content), 4096):
        replace(path, content[:size])
        with pytest.raises(CatalogError, match="a part of one"):
            Catalog.open(path)
    replace(path, content)
    assert not refused_or_the_same(path, (answers, names))


def test_a_damaged_block_is_an_error_where_it_is_read_and_nowhere_else(path):
    catalog = written(path, *large())
    flipped = bytearray(path.read_bytes())
    flipped[flipped.index(catalog.get(["p00002"]).embeddings.tobytes())] ^= 1  # a product of C
    replace(path, flipped)
    damaged = Catalog.open(path)
    assert len(damaged.search(axis(0), "A", top=5).products) == 5
    for _ in range(2):
        with pytest.raises(CatalogError, match=r"shop.arrow: a damaged catalog"):
            damaged.search(axis(0), "C", top=5)


def test_a_file_overwritten_in_place_is_refused_until_it_is_opened_anew(path):
    catalog = written(path, *large())
    hits = catalog.search(axis(0), "A", top=1)
    other = written(path.with_name("other.arrow"), *large(2001)).path.read_bytes()
    path.chmod(0o644)
    with path.open("r+b") as file:  # as `cp` does, but never shorter than what is mapped
        file.write(other)
    for ask in (
        lambda: catalog.search(axis(0), "A", top=1),
        lambda: catalog.get(["p00000"]),
        lambda: hits.products[0],
        catalog.validate,
    ):
        with pytest.raises(CatalogError, match="overwritten in place"):
            ask()
    assert catalog.refresh()
    assert len(catalog) == 2001


def test_a_catalog_is_read_only_so_that_nothing_writes_into_it(path):
    written(path).upsert([Product("z", "Zoo", "z.jpg")], vectors(1))
    assert path.stat().st_mode & 0o222 == 0


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
    ("place", "message"), [("a file/shop.arrow", "cannot be written"), ("", "is a folder")]
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place, message):
    (tmp_path / "a file").touch()
    with pytest.raises(CatalogError, match=message):
        written(tmp_path / place)


def test_a_new_catalog_is_on_disk_before_it_takes_its_place(path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "sync", lambda each: synced.append((each.name, path.exists())))
    written(path)
    assert synced[0] == (f".{path.name}.{os.getpid()}.partial", False)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.5])
def test_an_embedding_that_is_no_unit_vector_is_never_stored(path, value):
    embeddings = vectors(4).copy()
    embeddings[2, 5] = value
    with pytest.raises(CatalogError, match=r"product 'a'.*expected 1: embed it again"):
        write_catalog(path, products(*ROWS), embeddings, model_id=1, categories=MODEL)
    assert not path.exists()
    catalog = written(path)
    before = path.read_bytes()
    with pytest.raises(CatalogError, match=r"product 'z'.*expected 1: embed it again"):
        catalog.upsert([Product("z", "Zoo", "z.jpg")], embeddings[2:3])
    assert path.read_bytes() == before


def test_a_repeated_id_is_never_stored(path):
    with pytest.raises(CatalogError, match=r"ids must be unique.*'a' is not"):
        written(path, products(("a", "Zoo", 1.0), ("a", "Home|Rugs", 1.0)))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("top", [0, -1])
def test_a_top_below_1_is_refused(path, top):
    with pytest.raises(UsageError, match=f"top is {top}, expected at least 1"):
        written(path).search(axis(0), "Zoo", top=top)


@pytest.mark.parametrize("query", [axis(0)[:5], axis(0) * np.nan])
def test_a_query_that_is_none_is_refused(path, query):
    with pytest.raises(UsageError, match="must be 128 finite numbers"):
        written(path).search(query, "Zoo", top=1)


def test_columns_that_one_side_lacks_are_empty_there(path):
    catalog = written(path)
    catalog.upsert([Product("z", "Zoo", "/z.jpg", {"brand": "ACME"})], axis(1)[np.newaxis])
    assert catalog.get(["z", "d"]).products[0].columns == {"price": None, "brand": "ACME"}
    assert catalog.get(["d"]).products[0].columns == {"price": 4.0, "brand": None}


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ([Product("z", "Zoo", "z.jpg", {"price": "dear"})], "column of another type"),
        ([Product("z", "Zoo", "z.jpg", {"embedding": 1})], "cannot be columns"),
        ([Product("z", "Zoo", "z.jpg")] * 2, "unique"),
        (
            [Product(each, "Zoo", "z.jpg", {"size": each}) for each in ("x", "y")]
            + [Product("z", "Zoo", "z.jpg", {"size": 3})],
            "values of several types",
        ),
    ],
    ids=["another type", "reserved", "repeated", "mixed"],
)
def test_products_that_do_not_fit_change_nothing(path, new, message):
    catalog = written(path)
    before = path.read_bytes()
    with pytest.raises(CatalogError, match=message):
        catalog.upsert(new, vectors(len(new)))
    assert path.read_bytes() == before
    assert len(catalog) == 4


def test_a_catalog_is_never_emptied(path):
    with pytest.raises(CatalogError, match="delete the file instead"):
        written(path).delete(["a", "b", "c", "d"])
    assert len(Catalog.open(path)) == 4


def test_a_file_that_another_process_replaced_is_not_overwritten(path):
    catalog = written(path)
    written(path, products(("z", "Zoo", 1.0)))
    with pytest.raises(CatalogError, match="was replaced since it was opened"):
        catalog.delete(["a"])
    assert len(Catalog.open(path)) == 1
    path.unlink()
    with pytest.raises(CatalogError, match="was replaced"):
        catalog.upsert([Product("z", "Zoo", "z.jpg")], vectors(1))


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
        assert len(catalog) == len(rows)
        for number, (id_, category, price) in enumerate(rows):
            hits = catalog.get([id_])
            assert hits.embeddings.argmax(axis=1) == number
            product = hits.products[0]
            assert (product.id, product.category) == (id_, category)
            assert product.columns == {"price": price}


few_ids = st.sampled_from(["a", "b", "c", "d", "ä", "z1", "z10"])
categories = st.sampled_from(["Home|Rugs", "Zoo"])
changes = st.lists(
    st.one_of(
        st.tuples(
            st.just("upsert"),
            st.lists(
                st.tuples(few_ids, categories, st.integers(0, 4)), unique_by=lambda row: row[0]
            ),
        ),
        st.tuples(st.just("delete"), st.lists(few_ids)),
    ),
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(changes=changes, top=st.integers(1, 5), spoken=st.integers(0, 4))
def test_the_arrow_file_does_what_a_dict_does(changes, top, spoken):
    with tempfile.TemporaryDirectory() as folder:
        catalog = written(Path(folder) / "shop.arrow", products(("always", "Toys", 1.5)))
        oracle = DictCatalog(MODEL_ID, MODEL)
        oracle.upsert(catalog.get(["always"]).products, vectors(1))
        for kind, arguments in changes:
            if kind == "delete":
                assert catalog.delete(arguments) == oracle.delete(arguments)
                continue
            new = [
                Product(id_, category, f"https://shop.example/{id_}", {"price": float(index)})
                for id_, category, index in arguments
            ]
            embeddings = np.array([axis(index) for _, _, index in arguments]).reshape(-1, 128)
            for store in (catalog, oracle):
                store.upsert(new, embeddings)
        for each in (catalog, Catalog.open(catalog.path)):
            assert each.category_counts == oracle.category_counts
            for category in oracle.category_counts:
                expected = oracle.search(axis(spoken), category, top=top)
                hits = each.search(axis(spoken), category, top=top)
                assert list(hits.products) == list(expected.products)
                np.testing.assert_array_equal(hits.embeddings, expected.embeddings)
