"""Catalogs in Milvus, on a real server, held against the Arrow file."""

import asyncio
import csv
import math
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import trustme
from completelook import Catalog, CompleteLook, cli
from completelook.catalog import (
    Condition,
    Shard,
    describe,
    failures_path,
    index,
    write_catalog,
)
from completelook.catalog.milvus import MilvusCatalog, parse_address
from completelook.catalog.milvus import collection as collections
from completelook.catalog.milvus import store as stores_of_milvus
from completelook.catalog.milvus.collection import Collection
from completelook.catalog.milvus.server import MilvusServer, quoted
from completelook.errors import (
    CatalogError,
    CatalogUnavailable,
    ConditionError,
    ModelMismatch,
    UsageError,
)
from completelook.products import Product
from completelook.ranking import Rules, rank
from fakes import CATEGORIES, FakeTriton, axis, picture
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from milvus_server import MilvusServer as ServerProcess
from milvus_server import reason_to_skip
from pymilvus import DataType, MilvusClient
from stores import DictCatalog
from test_conditions import COLUMNS, comparisons_of
from test_rules import scene_of, table_of, unit

MODEL_ID = 2**62 + 5
# A write is seen after up to a quarter of a second: few examples, and none made smaller.
ON_ONE_SERVER = settings(
    max_examples=5, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real Milvus; skips where there can be none."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with ServerProcess(tmp_path_factory.mktemp("milvus")) as server:
        yield server


def location(milvus: ServerProcess, name: str, options: str = "") -> str:
    return f"milvus://{milvus.address}/{name}{options}"


def collection_of(
    milvus: ServerProcess, name: str, schema: pa.Schema, model_id=MODEL_ID
) -> Collection:
    """An empty collection, not yet a catalog."""
    address = parse_address(location(milvus, name))
    return Collection.to_write(
        MilvusServer(address), address, model_id=model_id, categories=CATEGORIES, schema=schema
    )


def catalog_of(milvus: ServerProcess, name: str, products: list[Product]) -> MilvusCatalog:
    """A catalog of some products, embedded along axis 0, 1 and on."""
    own = pa.Table.from_pylist([product.columns for product in products])
    collection = collection_of(milvus, name, own.schema)
    embeddings = np.stack([axis(place) for place in range(len(products))])
    collection.note(collection.description.layout, {each.category for each in products})
    collection.upsert(collection.description.layout.rows(products, embeddings))
    collection.publish(Shard())
    return MilvusCatalog(location(milvus, name))


def found(catalog: Catalog, *where: Any, along=0, category="Rugs", top=1000) -> list[str]:
    hits = catalog.search(axis(along), category, top=top, where=where)
    return [product.id for product in hits.products]


ids = st.sampled_from(["a", "b", 'c"', "d\\", "ä", "z1", "z10"])
categories = st.sampled_from(["Home|Rugs", 'Zoo "2"'])
changes = st.lists(
    st.one_of(
        st.tuples(
            st.just("upsert"),
            st.lists(st.tuples(ids, categories, st.integers(0, 4)), unique_by=lambda row: row[0]),
        ),
        st.tuples(st.just("delete"), st.lists(ids)),
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def changing(milvus) -> MilvusCatalog:
    return catalog_of(milvus, "changing", [Product("always", "Toys", "/a.jpg", {"price": 1.5})])


@ON_ONE_SERVER
@given(changes=changes, top=st.integers(1, 5), spoken=st.integers(0, 4))
def test_milvus_does_what_a_dict_does(changing, changes, top, spoken) -> None:
    changing.delete(["a", "b", 'c"', "d\\", "ä", "z1", "z10"])
    oracle = DictCatalog(MODEL_ID, CATEGORIES)
    oracle.upsert(changing.get(["always"]).products, axis(0)[np.newaxis])
    for kind, arguments in changes:
        if kind == "delete":
            assert changing.delete(arguments) == oracle.delete(arguments)
            continue
        new = [
            Product(id_, category, f"https://shop.example/{id_}", {"price": float(number)})
            for id_, category, number in arguments
        ]
        embeddings = np.array([axis(number) for _, _, number in arguments]).reshape(-1, 128)
        for store in (changing, oracle):
            store.upsert(new, embeddings)
    for each in (changing, Catalog.open(changing.info.location)):
        assert each.category_counts == oracle.category_counts
        assert len(each) == len(oracle)
        for category in oracle.category_counts:
            expected = oracle.search(axis(spoken), category, top=top)
            hits = each.search(axis(spoken), category, top=top)
            assert list(hits.products) == list(expected.products)
            np.testing.assert_array_equal(hits.embeddings, expected.embeddings)


def test_a_catalog_in_milvus_is_never_emptied(changing) -> None:
    everything = [row["id"] for page in changing.collection.all("", ["id"]) for row in page]
    with pytest.raises(CatalogError, match="drop the collection"):
        changing.delete(everything)
    assert len(changing) == len(everything)


def test_products_that_do_not_fit_milvus_change_nothing(changing) -> None:
    before = len(changing)
    for new, message in (
        ([Product("z", "Zoo", "z.jpg", {"price": "dear"})], "column of another type"),
        ([Product("z", "Zoo", "z.jpg", {"embedding": 1})], "cannot be columns"),
        ([Product("z", "Zoo", "z.jpg")] * 2, "unique"),
        ([Product("z", "Zoo", "z.jpg", {"text": "ä" * 33_000})], "'z': its columns take 66"),
        ([Product("z" * 70_000, "Zoo", "z.jpg")], "its id takes 70000 bytes"),
    ):
        with pytest.raises(CatalogError, match=message):
            changing.upsert(new, np.stack([axis(0)] * len(new)))
    with pytest.raises(CatalogError, match="length nan, expected 1"):
        changing.upsert([Product("z", "Zoo", "z.jpg")], np.full((1, 128), np.nan, np.float32))
    changing.refresh()
    assert len(changing) == before
    with pytest.raises(CatalogError, match="holds no product 'z'"):
        changing.get(["always", "z"])


@ON_ONE_SERVER
@given(texts=st.lists(st.text(max_size=8), min_size=1, max_size=5, unique=True))
def test_any_text_may_be_an_id_a_category_and_a_cell(changing, texts) -> None:
    products = [
        Product(f"any{text}", text, f"/{number}", {"text": text})
        for number, text in enumerate(texts)
    ]
    changing.upsert(products, np.stack([axis(number) for number in range(len(texts))]))
    for number, product in enumerate(products):
        assert list(changing.get([product.id]).products) == [
            Product(product.id, product.category, product.image, {"price": None, **product.columns})
        ]
        assert found(changing, along=number, category=product.category, top=1) == [product.id]
    assert changing.delete([product.id for product in products]) == len(products)


@given(text=st.text())
def test_a_quoted_text_is_one_line_of_ascii_that_says_the_same(text) -> None:
    literal = quoted(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert eval(literal, {"__builtins__": {}}) == text  # Python reads these escapes as Go does


@pytest.fixture(scope="module")
def asked(milvus) -> MilvusCatalog:
    columns = pa.table({name: pa.nulls(1, kind) for name, (_, kind, _) in COLUMNS.items()})
    collection = collection_of(milvus, "asked", columns.schema)
    collection.publish(Shard())
    return MilvusCatalog(location(milvus, "asked"))


def answer(catalog: Catalog, condition: Condition, top: int) -> list[str] | str:
    """What is found, or why nothing can be."""
    try:
        return found(catalog, condition, top=top)
    except ConditionError as error:
        return str(error)


@ON_ONE_SERVER
@given(data=st.data())
def test_milvus_finds_what_the_arrow_file_finds(asked, tmp_path_factory, data) -> None:
    """Conditions on columns of every type, with all that may be asked of them."""
    count = data.draw(st.integers(1, 20))
    columns = {
        name: pa.array(data.draw(st.lists(cells | st.none(), min_size=count, max_size=count)), kind)
        for name, (cells, kind, _) in COLUMNS.items()
    }
    table = pa.table(columns)
    table = table.append_column("id", pa.array([f"p{row:02d}" for row in range(count)]))
    for name in ("category", "image"):
        table = table.append_column(name, pa.array(["Rugs"] * count))
    embeddings = np.zeros((count, 128), np.float32)
    embeddings[:, 0] = np.linspace(1, 0, count)
    embeddings[:, 1] = np.sqrt(1 - embeddings[:, 0] ** 2)
    path = tmp_path_factory.mktemp("asked") / "c.arrow"
    write_catalog(path, table, embeddings, model_id=1, categories=("Rugs",))
    arrow = Catalog.open(path)
    old = [f"p{row:02d}" for row in range(20)]
    hits = arrow.get([f"p{row:02d}" for row in range(count)])
    asked.collection.delete(old[count:])
    asked.upsert(hits.products, hits.embeddings)
    # By what they look like, since no NaN is equal to another.
    assert repr(list(asked.get(old[:count]).products)) == repr(list(hits.products))
    for name, (_, kind, values) in COLUMNS.items():
        condition = data.draw(
            st.builds(Condition, st.just(name), st.sampled_from(comparisons_of(kind)), values)
        )
        top = data.draw(st.integers(1, 22))
        assert answer(asked, condition, top) == answer(arrow, condition, top)


def test_rules_do_in_milvus_what_they_do_in_an_arrow_file(milvus, tmp_path, monkeypatch) -> None:
    generator = np.random.default_rng(0)
    table = table_of(generator, 60)
    columns: dict[str, Any] = {
        "category": pa.array([CATEGORIES[0]] * 61),
        "price": pa.array(generator.integers(1, 9, size=61) / 10, pa.float32()),
    }
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    embeddings = unit(generator.normal(size=(61, 128))).astype(np.float32)
    write_catalog(tmp_path / "c.arrow", table, embeddings, model_id=1, categories=CATEGORIES)
    arrow = Catalog.open(tmp_path / "c.arrow")
    held = arrow.get(table["id"].to_pylist())
    own = table.drop_columns(["id", "category", "image"])
    collection = collection_of(milvus, "ruled", own.schema)
    layout = collection.description.layout
    collection.note(layout, {CATEGORIES[0]})
    collection.upsert(layout.rows(held.products, held.embeddings))
    collection.publish(Shard())
    catalog = MilvusCatalog(location(milvus, "ruled"))
    # Few are looked at, so that there are ranks that nothing tells.
    monkeypatch.setattr("completelook.ranking.rules.candidates.FAR", 30)
    scene = scene_of(generator)
    pins = [row["id"] for row in table.to_pylist() if row["brand"] != "ACME"][5:7]
    cheap = {"where": "price <= 0.3", "factor": 1.3}
    for mapping in (
        {"first": "in_stock = true", "exclude": {"where": "brand = ACME"}, "pin": pins},
        {"boost": cheap, "at_most": {"column": "brand", "count": 1}},
    ):
        options: Any = {"top": 6, "rules": Rules.of(mapping), "where": ["price <= 0.7"]}
        here, there = (rank(scene, each, "Rugs", **options) for each in (catalog, arrow))
        assert [each.id for each in here] == [each.id for each in there]
        assert here.ledger.as_mapping() == there.ledger.as_mapping()
        for one, other in zip(here, there, strict=True):
            assert one.model_rank in (other.model_rank, None)
            assert (one.model_rank is None) <= (other.model_rank > 30)


EVERY_KIND: list[dict[str, Any]] = [
    {
        "text": 'it\'s "so"\n\x00ü😀',
        "whole": 2**63 - 1,
        "number": 0.1,
        "decimal": Decimal("1.10"),
        "yes": True,
        "day": date(2026, 1, 31),
        "moment": datetime(2026, 1, 31, 12, 0, 0, 123456),
        "zoned": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "clock": time(12, 30),
        "while": timedelta(days=1, microseconds=1),
        "bytes": b"\x00\xff",
        "list": ["a", None, 'b"'],
        "lists": [[1, 2], []],
        "days": [date(2026, 1, 31)],
        "struct": {"a": 1, "arrow": "b"},
    },
    {"text": "", "number": -0.0, "list": [], "days": []},
    {"number": math.inf, "text": "{}", "struct": {"a": None, "arrow": None}},
    {},
]


def test_cells_come_back_as_they_were_whatever_their_type(milvus) -> None:
    own = pa.Table.from_pylist(EVERY_KIND)
    products = [
        Product(f"p{row}", "Rugs", "/x", cells) for row, cells in enumerate(own.to_pylist())
    ]
    catalog = catalog_of(milvus, "cells", products)
    back = list(catalog.get([f"p{row}" for row in range(4)]).products)
    assert back == products
    for before, after in zip(products, back, strict=True):
        assert list(after.columns) == own.column_names
        assert [type(cell) for cell in after.columns.values()] == [
            type(cell) for cell in before.columns.values()
        ]
    assert found(catalog, pc.field("whole") > 5, "day=2026-01-31") == ["p0"]


def test_ties_beyond_what_milvus_gives_at_once_are_all_there(changing, monkeypatch) -> None:
    monkeypatch.setattr(stores_of_milvus, "_MOST_HITS", 32)
    monkeypatch.setattr(collections, "PAGE_ROWS", 7)
    tied = [Product(f"t{row:02d}", "Tied", "/x", {"price": row / 2}) for row in range(60)]
    changing.upsert(tied, np.stack([axis(9)] * 60))
    assert found(changing, along=9, category="Tied", top=3) == [each.id for each in tied]
    some = found(changing, pc.field("price") >= 25, along=9, category="Tied", top=3)
    assert some == [f"t{row}" for row in range(50, 60)]
    many = changing.search_many(np.stack([axis(9), -axis(9)]), "Tied", top=3, where=["price<1"])
    assert [[each.id for each in hits.products] for hits in many] == [["t00", "t01"]] * 2
    assert changing.delete([each.id for each in tied]) == 60


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """Ten products of red values 0 to 9; the ledgers lie beside their table."""
    monkeypatch.chdir(tmp_path)
    lines = ["id,image,category,price"]
    for red in range(10):
        picture(red).save(tmp_path / f"{red}.png")
        lines.append(f"00{red},{red}.png,{'Rugs' if red % 2 else 'Toys'},{red}.5")
    path = tmp_path / "products.csv"
    path.write_text("\n".join(lines))
    return path


def everything(catalog: Catalog) -> dict[str, tuple[Product, list[float]]]:
    return {
        product.id: (product, embedding.tolist())
        for category in catalog.category_counts
        for hits in [catalog.search(axis(0), category, top=1000)]
        for product, embedding in zip(hits.products, hits.embeddings, strict=True)
    }


def test_index_makes_the_same_catalog_as_a_file_and_then_writes_only_what_changed(
    milvus, shop, look: CompleteLook, triton: FakeTriton, monkeypatch
) -> None:
    place = location(milvus, "shop")
    index(shop, shop.parent / "c.arrow", look)
    assert index(shop, place, look).indexed == 10
    catalog = Catalog.open(place)
    arrow = Catalog.open(shop.parent / "c.arrow")
    assert everything(catalog) == everything(arrow)
    assert (catalog.model_id, catalog.categories) == (arrow.model_id, arrow.categories)
    assert catalog.category_counts == arrow.category_counts
    assert describe(catalog).columns == describe(arrow).columns == {"price": "double"}
    room = shop.parent / "3.png"
    assert look.rank(room, catalog, "Rugs") == look.rank(room, arrow, "Rugs")

    written = []
    upsert = Collection.upsert
    monkeypatch.setattr(
        Collection,
        "upsert",
        lambda to, rows: written.extend(rows := list(rows)) or upsert(to, rows),
    )
    index(shop, place, look)
    assert not written
    lines = shop.read_text().splitlines()
    lines[1] = "000,0.png,Toys,99"  # another price, the same picture
    picture(20).save(shop.parent / "2.png")  # another picture
    (shop.parent / "4.png").write_bytes(b"no picture")
    shop.write_text("\n".join([*lines[:-1], f"large,3.png,Rugs,{'9' * 70_000}"]))  # without 009
    calls = triton.calls["ModelInfer"]
    report = index(shop, place, look)
    assert triton.calls["ModelInfer"] - calls == 1 + 1  # a blank picture tells the model
    assert (report.indexed, [skip.id for skip in report.skipped]) == (8, ["004", "large"])
    with failures_path(place).open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["004", "large"]
    assert catalog.refresh()
    held = everything(catalog)
    assert sorted(held) == ["000", "001", "002", "003", "005", "006", "007", "008"]
    assert held["000"][0].columns == {"price": "99"}  # one cell is no number any more
    assert held["002"][1] == axis(20).tolist()

    more = [{"id": "001", "image": str(room), "category": "Rugs", "price": "1", "hue": "red"}]
    assert index(more, place, look, add=True).indexed == 1
    catalog.refresh()
    assert sorted(everything(catalog)) == sorted(held)
    assert catalog.get(["001", "003"]).embeddings.tolist() == [axis(3).tolist()] * 2
    assert catalog.get(["003"]).products[0].columns == {"price": "3.5", "hue": None}
    with pytest.raises(UsageError, match="half precision is for files"):
        index(more, place, look, half=True)


def test_shards_of_another_model_take_over_once_all_are_through(milvus, shop, triton, look) -> None:
    place = location(milvus, "shop")
    index(shop, place, look)
    catalog = Catalog.open(place)
    scene = look.embed_scene(shop.parent / "3.png")
    triton.model_id += 1
    reports = [index(shop, place, look, shard=Shard(2, 2))]
    # The earlier model's answers, whole.
    assert Catalog.open(place).model_id == scene.model_id
    assert len(look.rank(scene, catalog, "Rugs")) == 5
    reports.append(index(shop, place, look, shard=Shard(1, 2)))
    # This process still takes the catalog for the earlier model's, and must not find the new one's.
    with pytest.raises(ModelMismatch, match=r"is by now of model .*embed the scene again"):
        look.rank(scene, catalog, "Rugs")
    with pytest.raises(ModelMismatch, match="was made by model"):
        look.rank(scene, catalog, "Rugs")
    assert len(look.rank(shop.parent / "3.png", catalog, "Rugs")) == 5

    index(shop, shop.parent / "c.arrow", look)
    assert everything(catalog) == everything(Catalog.open(shop.parent / "c.arrow"))
    assert sum(report.indexed for report in reports) == len(catalog) == 10
    shop.write_text("\n".join(shop.read_text().splitlines()[:6]))
    index(shop, place, look, shard=Shard(2, 2))
    catalog.refresh()
    gone = {f"00{red}" for red in range(5, 10) if Shard(2, 2).holds(f"00{red}")}
    assert gone
    left = {f"00{red}" for red in range(10)} - gone
    assert sorted(everything(catalog)) == sorted(left)

    triton.model_id += 1  # What is added to is embedded anew as a whole, and that is said.
    more = [{"id": "new", "image": str(shop.parent / "8.png"), "category": "Rugs"}]
    notices = []
    index(more, place, look, add=True, notice=notices.append)
    assert "is of another model than the server's" in notices[0]
    catalog = Catalog.open(place)
    assert catalog.model_id == triton.model_id
    assert sorted(everything(catalog)) == sorted({*left, "new"})


def test_no_server_is_an_error_that_names_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(CatalogUnavailable, match=rf"no answer from Milvus at 127.0.0.1:{port}"):
        Catalog.open(f"milvus://127.0.0.1:{port}/shop")


@contextmanager
def behind_tls(address: str, certificate: trustme.LeafCert) -> Iterator[str]:
    """A place that takes TLS for a server that knows none."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    context.set_alpn_protocols(["h2"])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await reader.read(1 << 16):
                writer.write(content)
                await writer.drain()
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*address.split(":"))
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    begun = asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    server = asyncio.run_coroutine_threadsafe(begun, loop).result()
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(server.close)


def test_milvus_behind_tls_is_reached_with_its_authority_alone(
    milvus, changing, monkeypatch, tmp_path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with behind_tls(milvus.address, authority.issue_cert("127.0.0.1")) as address:
        place = f"milvuss://{address}/{changing.address.name}"
        with pytest.raises(CatalogError, match="who signed its certificate in COMPLETELOOK_MILV"):
            Catalog.open(place)
        monkeypatch.setenv("COMPLETELOOK_MILVUS_CA", str(tmp_path / "ca.pem"))
        assert Catalog.open(place).category_counts == changing.category_counts
        monkeypatch.setenv("COMPLETELOOK_MILVUS_CA", str(tmp_path / "none.pem"))
        with pytest.raises(CatalogError, match="cannot be read: expected a file of certificates"):
            Catalog.open(place)


def test_what_is_no_catalog_is_refused_and_says_what_is_expected(milvus, changing) -> None:
    place = location(milvus, "other")
    with pytest.raises(CatalogError, match=r"no such catalog.*`completelook index PRODUCTS"):
        Catalog.open(place)
    server = MilvusServer(parse_address(place))
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=5)
    server.write("create_collection", "other", schema=schema)
    with pytest.raises(CatalogError, match="not one that `completelook index` made"):
        Catalog.open(place)
    properties = changing.collection.description.properties()
    server.write("alter_collection_properties", "other", properties)
    with pytest.raises(CatalogError, match="embeddings are of 5 numbers, expected 128"):
        Catalog.open(place)


def test_without_pymilvus_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(CatalogError, match=r"pip install 'completelook\[milvus\]'"):
        Catalog.open("milvus://localhost:19530/shop")


@pytest.mark.parametrize(
    "text",
    [
        "milvus://",
        "milvus://host",
        "milvus://host:19530/",
        "milvus://host:port/shop",
        "milvus://host:19530/a-b",
        "milvus://host:19530/a/b",
        "milvus://:19530/shop",
        "milvus://me:secret@host/shop",
        "milvus://host/shop?index=ivf",
        "milvus://host/shop?ef=many",
        "milvus://host/shop?fast",
    ],
)
def test_an_address_that_is_none_says_what_is_expected(text) -> None:
    with pytest.raises(UsageError, match="expected milvus://HOST:19530/NAME"):
        Catalog.open(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("milvus://host/shop", "milvus://host:19530/shop"),
        ("milvus://[::1]:1/shop", "milvus://[::1]:1/shop"),
        ("milvus://host:1/shop?index=hnsw", "milvus://host:1/shop?index=hnsw&ef=512"),
        ("milvuss://host/shop", "milvuss://host:19530/shop"),
    ],
)
def test_an_address_is_a_host_a_port_and_a_name(text, address) -> None:
    assert str(parse_address(text)) == address


def test_the_command_line_takes_a_catalog_in_milvus_for_one_in_a_file(
    milvus, shop, triton, monkeypatch, capsys
) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["completelook", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    monkeypatch.setenv("COMPLETELOOK_SERVER", triton.address)
    place = location(milvus, "typed", "?index=hnsw&ef=64")
    code, _, err = run("index", shop, "--catalog", place)
    assert code == 0
    assert f"wrote {place}: 10 products" in err
    assert "HNSW with ef 64 finds 1.000 of the true 10 nearest" in err
    assert run("index", shop, "--catalog", "c.arrow")[0] == 0
    ranked = [
        run("rank", "3.png", "--catalog", catalog, "--json", "--show", "price")
        for catalog in (place, "c.arrow")
    ]
    assert ranked[0] == ranked[1]
    assert ranked[0][1].count("\n") == 5
    code, _, err = run("index", shop, "--catalog", location(milvus, "typed"))
    assert (code, "its index is HNSW, not FLAT" in err) == (1, True)
    assert run("index", shop, "--catalog", place, "--shard", "3/2")[0] == 2
    assert run("rank", "3.png", "--catalog", "milvus://host/a-b")[0] == 2


def test_a_server_killed_in_the_middle_of_indexing_loses_and_doubles_nothing(
    milvus, shop, look, triton, monkeypatch
) -> None:
    place = location(milvus, "shop")
    monkeypatch.setattr(collections, "PAGE_ROWS", 2)
    monkeypatch.setattr("completelook.catalog.milvus.target.PAGE_ROWS", 2)
    upsert = Collection.upsert
    pages = []

    def killing(collection, rows) -> None:
        pages.append(upsert(collection, rows))
        if len(pages) == 3:
            milvus.kill()
            monkeypatch.setattr("completelook.catalog.milvus.server.WRITE_TIMEOUT_S", 1.0)

    monkeypatch.setattr(Collection, "upsert", killing)
    with pytest.raises(CatalogUnavailable, match=f"no answer from Milvus at {milvus.address}"):
        index(shop, place, look)
    assert len(pages) == 3
    monkeypatch.undo()
    monkeypatch.chdir(shop.parent)
    milvus.start()
    calls = triton.calls["ModelInfer"]
    assert index(shop, place, look).reused == 10
    assert triton.calls["ModelInfer"] - calls == 1
    catalog = MilvusCatalog(place)
    rows = [row["id"] for page in catalog.collection.all("", ["id"]) for row in page]
    assert rows == [f"00{red}" for red in range(10)]
    assert len(catalog) == 10
    index(shop, shop.parent / "c.arrow", look)
    assert everything(catalog) == everything(Catalog.open(shop.parent / "c.arrow"))


def test_the_first_text_that_says_no_number_is_the_one_that_an_arrow_file_names(milvus) -> None:
    texts = ["ACME", "2026-01-31T12:00"]  # Milvus has a number of the second one alone
    catalog = catalog_of(
        milvus,
        "said",
        [Product(f"p{row}", "Rugs", "/a", {"text": each}) for row, each in enumerate(texts)],
    )
    with pytest.raises(ConditionError, match="the first is 'ACME'"):
        found(catalog, "text >= 1.29")
