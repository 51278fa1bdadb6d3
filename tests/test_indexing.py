import csv
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest
from completelook.catalog import ArrowCatalog, Catalog, failures_path, index, ledger_path, prepare
from completelook.catalog.ledger import Fingerprint, Ledger
from completelook.errors import (
    CatalogError,
    ContractError,
    ImageError,
    ModelMismatch,
    ServerUnavailable,
    TableError,
)
from completelook.images import load_image
from completelook.products import Product
from PIL import Image

MODEL = ("Home|Rugs", "Home|Lamps")
ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Answer:
    embedding: np.ndarray
    model_id: int


@dataclass
class FakeLook:
    """A model whose embedding turns from axis 0 to axis 1 as a picture gets brighter."""

    model_id: int = 11
    names: tuple[str, ...] = MODEL
    fail_after: int = 10**9
    failure: BaseException = field(default_factory=lambda: ServerUnavailable("server is down"))
    seen: list = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def categories(self):
        return self.names

    def embed_product(self, source):
        with self.lock:
            if isinstance(source, str):
                self.seen.append(Path(source).name)
            if len(self.seen) > self.fail_after:
                raise self.failure
        return Answer(embedding_of(source), self.model_id)


def embedding_of(source):
    angle = load_image(source).mean() / 255
    return np.array([np.cos(angle), np.sin(angle)] + [0] * 126, np.float32)


@pytest.fixture
def shop(tmp_path):
    """Five products; product k is a gray square of brightness k."""
    folder = tmp_path / "shop"
    folder.mkdir()
    lines = ["id,image,category,price"]
    for number, category in enumerate(["rugs", "Lamps", "Home|Rugs", "Toys", "Lamps"]):
        Image.new("RGB", (8, 8), (number,) * 3).save(folder / f"{number}.png")
        lines.append(f"00{number},{number}.png,{category},{number}.5")
    (folder / "products.csv").write_text("\n".join(lines))
    return folder / "products.csv"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.arrow"


def stored(path):
    """The file's table, as any program sees it."""
    return pa.ipc.open_file(path).read_all()


def brightness(path):
    return {
        row["id"]: round(255 * np.arctan2(row["embedding"][1], row["embedding"][0]))
        for row in stored(path).to_pylist()
    }


def beside(path):
    return sorted(file.name for file in path.parent.iterdir() if file.is_file())


def test_every_product_is_embedded_into_its_own_row(shop, path):
    report = index(shop, path, FakeLook())
    catalog = Catalog.open(path)
    assert brightness(path) == {"000": 0, "001": 1, "002": 2, "003": 3, "004": 4}
    assert stored(path)["price"].to_pylist() == [1.5, 4.5, 0.5, 2.5, 3.5]
    assert catalog.model_id == 11
    assert catalog.categories.names == MODEL
    assert (report.indexed, report.reused, report.skipped) == (5, 0, ())
    assert report.images_per_s == pytest.approx(5 / report.seconds)
    assert beside(path) == ["shop.arrow", "shop.arrow.ledger"]


@pytest.mark.parametrize("in_flight", [1, 3, 64])
def test_the_catalog_does_not_depend_on_the_requests_in_flight(shop, path, in_flight):
    index(shop, path, FakeLook(), in_flight=in_flight)
    first = path.read_bytes()
    index(shop, path, FakeLook())
    assert path.read_bytes() == first


def test_requests_are_in_flight_together_and_bounded(shop, path):
    together = threading.Barrier(5, timeout=20)  # broken unless all five meet

    class Meeting(FakeLook):
        def embed_product(self, source):
            if isinstance(source, str):
                together.wait()
            return super().embed_product(source)

    assert index(shop, path, Meeting(), in_flight=5).indexed == 5


def test_categories_take_the_models_names_and_others_stay(shop, path):
    report = index(shop, path, FakeLook())
    assert Catalog.open(path).category_counts == {"Home|Lamps": 2, "Home|Rugs": 2, "Toys": 1}
    assert report.unknown_categories == {"Toys": 1}


def test_products_of_unknown_and_ambiguous_categories_alone_are_indexed(shop, path):
    report = index(shop, path, FakeLook(names=("A|Lamps", "B|Lamps")))
    assert report.indexed == 5
    assert report.unknown_categories == {"Lamps": 2, "rugs": 1, "Home|Rugs": 1, "Toys": 1}


def test_a_picture_that_cannot_be_read_is_skipped_and_listed(shop, path):
    (shop.parent / "1.png").write_bytes(b"no picture")
    (shop.parent / "3.png").unlink()
    report = index(shop, path, FakeLook())
    assert brightness(path) == {"000": 0, "002": 2, "004": 4}
    with failures_path(path).open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["id"], row["image"]) for row in listed] == [
        ("001", str(shop.parent / "1.png")),
        ("003", str(shop.parent / "3.png")),
    ]
    assert "not a picture" in listed[0]["reason"]
    assert "no such file" in listed[1]["reason"]
    assert [skip.reason for skip in report.skipped] == [row["reason"] for row in listed]
    assert report.indexed == 3


def test_the_list_of_failures_goes_when_there_are_none(shop, path):
    failures_path(path).write_text("id,image,reason\n")
    index(shop, path, FakeLook())
    assert not failures_path(path).exists()


def test_a_failure_can_stop_the_run(shop, path):
    (shop.parent / "1.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"product '001': .*1.png.*empty"):
        index(shop, path, FakeLook(), on_error="fail")
    assert not path.exists()


def test_a_table_of_unreadable_pictures_makes_no_catalog(shop, path):
    index(shop, path, FakeLook())
    before = path.read_bytes()
    for picture in shop.parent.glob("*.png"):
        picture.unlink()
    with pytest.raises(CatalogError, match=r"none of the 5 products.*no such file"):
        index(shop, path, FakeLook())
    assert path.read_bytes() == before
    assert failures_path(path).read_text().count("no such file") == 5


def test_a_dead_server_is_fatal_and_nothing_done_is_lost(shop, path):
    with pytest.raises(ServerUnavailable, match="server is down"):
        index(shop, path, FakeLook(fail_after=3), in_flight=1)
    assert not path.exists()
    look = FakeLook()
    report = index(shop, path, look)
    assert (report.indexed, report.reused) == (5, 3)
    assert sorted(look.seen) == ["3.png", "4.png"]
    assert brightness(path) == {"000": 0, "001": 1, "002": 2, "003": 3, "004": 4}


def test_what_was_in_flight_beside_a_failure_is_kept(shop, path):
    together = threading.Barrier(5, timeout=20)

    class Late(FakeLook):
        def embed_product(self, source):
            if isinstance(source, str):
                together.wait()
                if source.endswith("0.png"):
                    raise ServerUnavailable("server is down")
            return super().embed_product(source)

    with pytest.raises(ServerUnavailable):
        index(shop, path, Late(), in_flight=5)
    assert index(shop, path, FakeLook()).reused == 4


def test_an_interrupted_run_leaves_the_old_catalog_and_is_taken_up(shop, path):
    index(shop, path, FakeLook())
    before = path.read_bytes()
    for number in range(5):
        Image.new("RGB", (9, 9), (100 + number,) * 3).save(shop.parent / f"{number}.png")
    with pytest.raises(KeyboardInterrupt):
        index(shop, path, FakeLook(fail_after=2, failure=KeyboardInterrupt()), in_flight=1)
    assert path.read_bytes() == before
    assert index(shop, path, FakeLook()).reused == 2
    assert brightness(path) == {f"00{number}": 100 + number for number in range(5)}


def test_a_second_run_embeds_only_what_is_new_changed_or_failed(shop, path):
    (shop.parent / "1.png").write_bytes(b"no picture")
    assert index(shop, path, FakeLook()).indexed == 4
    Image.new("RGB", (9, 9), (101,) * 3).save(shop.parent / "1.png")  # mended
    Image.new("RGB", (9, 9), (102,) * 3).save(shop.parent / "2.png")  # changed
    Image.new("RGB", (9, 9), (105,) * 3).save(shop.parent / "5.png")
    lines = shop.read_text().splitlines()
    lines[1] = "000,0.png,rugs,99.5"  # another price, the same picture
    shop.write_text("\n".join([*lines[:4], *lines[5:], "005,5.png,Toys,5.5"]))  # without 003
    look = FakeLook()
    report = index(shop, path, look)
    assert sorted(look.seen) == ["1.png", "2.png", "5.png"]
    assert (report.indexed, report.reused) == (5, 2)
    assert brightness(path) == {"000": 0, "001": 101, "002": 102, "004": 4, "005": 105}
    assert {row["id"]: row["price"] for row in stored(path).to_pylist()}["000"] == 99.5


def test_a_second_writer_gets_a_clear_error_that_names_the_first(shop, path):
    index(shop, path, FakeLook())
    written = ArrowCatalog(path)

    class Indexing(FakeLook):
        def embed_product(self, source):
            if isinstance(source, str):
                first = f"process {os.getpid()} on .* is writing this catalog"
                with pytest.raises(CatalogError, match=first):
                    index(shop, path, FakeLook())
                with pytest.raises(CatalogError, match=first):
                    written.delete(["000"])
            return super().embed_product(source)

    assert index(shop, path, Indexing(model_id=12), in_flight=1).indexed == 5
    assert beside(path) == ["shop.arrow", "shop.arrow.ledger"]


def test_a_damaged_embedding_in_the_ledger_is_embedded_again(shop, path):
    index(shop, path, FakeLook())
    with sqlite3.connect(ledger_path(path)) as database:
        flipped = bytearray(database.execute("SELECT vector FROM embedding").fetchone()[0])
        flipped[7] ^= 1
        image = str(shop.parent / "0.png")
        database.execute("UPDATE embedding SET vector = ? WHERE image = ?", (flipped, image))
    database.close()
    look = FakeLook()
    assert index(shop, path, look).reused == 4
    assert look.seen == ["0.png"]


def test_an_embedding_that_has_changed_its_picture_in_the_ledger_is_not_taken_up(shop, path):
    index(shop, path, FakeLook())
    status = (shop.parent / "0.png").stat()
    with sqlite3.connect(ledger_path(path)) as database:
        database.execute("DELETE FROM embedding WHERE image LIKE '%0.png'")
        database.execute(
            "UPDATE embedding SET image = replace(image, '1.png', '0.png'), size = ?,"
            " modified_ns = ? WHERE image LIKE '%1.png'",
            (status.st_size, status.st_mtime_ns),
        )
    database.close()
    index(shop, path, FakeLook())
    assert brightness(path)["000"] == 0


def test_a_ledger_that_is_damaged_within_says_what_to_do(shop, path):
    index(shop, path, FakeLook())
    content = bytearray(ledger_path(path).read_bytes())
    content[4096:8192] = bytes(4096)  # the page that the embeddings hang on
    ledger_path(path).write_bytes(content)
    with pytest.raises(CatalogError, match="delete it and run the same command again"):
        index(shop, path, FakeLook())
    assert brightness(path) == {f"00{number}": number for number in range(5)}


def test_what_is_added_leaves_the_rest_and_replaces_its_own_ids(shop, path):
    index(shop, path, FakeLook())
    Image.new("RGB", (8, 8), (90,) * 3).save(shop.parent / "9.png")
    more = shop.with_name("more.csv")
    more.write_text("id,image,category,brand\n003,9.png,Lamps,ACME\n005,9.png,Toys,ACME")
    ledger_path(path).unlink()  # what the catalog holds need not be in it
    look = FakeLook()
    report = index(more, path, look, add=True)
    assert set(look.seen) == {"9.png"}
    assert report.indexed == 2
    assert brightness(path) == {"000": 0, "001": 1, "002": 2, "003": 90, "004": 4, "005": 90}
    assert Catalog.open(path).get(["000", "003"]).cells("brand") == [None, "ACME"]


def test_adding_with_another_model_embeds_all_anew_and_says_so_first(shop, path):
    index(shop, path, FakeLook())
    more = shop.with_name("more.csv")
    more.write_text("id,image,category\n003,0.png,Lamps\n005,1.png,Toys")
    told = []
    look = FakeLook(model_id=12)
    index(more, path, look, add=True, notice=lambda line: told.append((line, list(look.seen))))
    ((line, seen),) = told
    assert "another model than the server's, 000000000000000c: all 6 products" in line
    assert seen == []
    assert brightness(path) == {"000": 0, "001": 1, "002": 2, "003": 0, "004": 4, "005": 1}
    assert Catalog.open(path).model_id == 12


def test_adding_to_no_catalog_makes_one(shop, path):
    assert index(shop, path, FakeLook(), add=True, notice=pytest.fail).indexed == 5


KILLED = """
import sys, time
from completelook.catalog import index
from test_indexing import FakeLook

class Slow(FakeLook):
    def embed_product(self, source):
        time.sleep(0.01)
        return super().embed_product(source)

import completelook.catalog.ledger as ledger
ledger.FLUSH_ROWS = 4
index(sys.argv[1], sys.argv[2], Slow(), in_flight=2)
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_is_taken_up_and_ends_as_if_it_never_was(shop, path):
    lines = ["id,image,category"]
    for number in range(120):
        Image.new("RGB", (8, 8), (number,) * 3).save(shop.parent / f"{number}.png")
        lines.append(f"{number:03d},{number}.png,{MODEL[number % 2]}")
    shop.write_text("\n".join(lines))
    index(shop, path, FakeLook())
    expected = path.read_bytes()
    ledger_path(path).unlink()
    generator = np.random.default_rng(0)
    kills = 0
    for _ in range(20):
        run = subprocess.Popen([sys.executable, "-c", KILLED, str(shop), str(path)], cwd=ROOT)
        wait_s = 10.0 if kills > 4 else generator.uniform(0.1, 0.5)
        while not ledger_path(path).exists() and run.poll() is None:
            time.sleep(0.01)
        try:
            assert run.wait(wait_s) == 0
            break
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
            kills += 1
            assert path.read_bytes() == expected
    assert kills > 0
    assert path.read_bytes() == expected
    path.with_name(".shop.arrow.1.partial").touch()  # as a kill while the catalog is written does
    assert index(shop, path, FakeLook()).reused == 120
    assert beside(path) == ["shop.arrow", "shop.arrow.ledger"]


def test_a_run_can_be_cut_off_again_and_again(shop, path):
    for resumed in range(4):
        look = FakeLook(fail_after=1)
        with pytest.raises(ServerUnavailable):
            index(shop, path, look, in_flight=1)
        assert look.seen[0] == f"{resumed}.png"
    assert index(shop, path, FakeLook()).reused == 4


def test_a_picture_that_changed_since_is_embedded_again(shop, path):
    with pytest.raises(ServerUnavailable):
        index(shop, path, FakeLook(fail_after=4), in_flight=1)
    Image.new("RGB", (9, 9), (200,) * 3).save(shop.parent / "1.png")
    assert index(shop, path, FakeLook()).reused == 3
    assert brightness(path)["001"] == 200


def test_another_models_embeddings_are_not_taken_up(shop, path):
    with pytest.raises(ServerUnavailable):
        index(shop, path, FakeLook(fail_after=4), in_flight=1)
    assert index(shop, path, FakeLook(model_id=12)).reused == 0
    assert Catalog.open(path).model_id == 12


@pytest.mark.parametrize("content", [b"", b"no arrow stream", b"\xff" * 64])
def test_a_checkpoint_that_is_none_is_started_anew(shop, path, content):
    ledger_path(path).write_bytes(content)
    assert index(shop, path, FakeLook()).reused == 0


def test_a_model_that_changes_midway_is_a_mismatch(shop, path):
    class Rollout(FakeLook):
        def embed_product(self, source):
            product = super().embed_product(source)
            return Answer(product.embedding, 12 if len(self.seen) > 2 else 11)

    with pytest.raises(ModelMismatch, match="000000000000000b to 000000000000000c"):
        index(shop, path, Rollout(), in_flight=1)
    assert not path.exists()
    assert index(shop, path, FakeLook(model_id=11)).reused == 2


def test_a_dead_server_is_noticed_before_the_work_begins(shop, path):
    with pytest.raises(ServerUnavailable, match="server is down"):
        index(shop, path, FakeLook(fail_after=-1))
    assert not list(path.parent.glob("shop.arrow*"))


@pytest.mark.parametrize(
    ("products", "catalog", "error"),
    [
        pytest.param("none.csv", "shop.arrow", TableError, id="no table"),
        pytest.param("products.csv", "0.png/shop.arrow", CatalogError, id="no folder"),
        pytest.param("products.csv", ".", CatalogError, id="a folder"),
        pytest.param("products.csv", "products.csv", CatalogError, id="its own table"),
    ],
)
def test_a_run_that_cannot_end_well_does_not_begin(shop, products, catalog, error):
    look = FakeLook()
    before = shop.read_bytes()
    with pytest.raises(error, match=products if error is TableError else catalog):
        index(shop.parent / products, shop.parent / catalog, look)
    assert look.seen == []
    assert shop.read_bytes() == before


def test_progress_is_told_and_nothing_is_printed(shop, path, capsys):
    with pytest.raises(ServerUnavailable):
        index(shop, path, FakeLook(fail_after=2), in_flight=1)
    told = []
    index(shop, path, FakeLook(), progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (3, 5), (4, 5), (5, 5)]
    assert capsys.readouterr() == ("", "")


def rows_of(shop):
    return [
        {**row, "image": str(shop.parent / row["image"]), "price": float(row["price"])}
        for row in csv.DictReader(shop.read_text().splitlines())
    ]


@pytest.mark.parametrize(
    "in_memory",
    [
        pytest.param(pa.Table.from_pylist, id="pyarrow"),
        pytest.param(pandas.DataFrame, id="pandas"),
        pytest.param(lambda rows: pandas.DataFrame(rows, range(10, 15)), id="pandas, numbered"),
        pytest.param(polars.DataFrame, id="polars"),
        pytest.param(iter, id="mappings"),
        pytest.param(
            lambda rows: ({**row, "image": Path(row["image"])} for row in rows), id="paths"
        ),
        pytest.param(
            lambda rows: [
                Product(row["id"], row["category"], row["image"], {"price": row["price"]})
                for row in rows
            ],
            id="products",
        ),
    ],
)
def test_products_in_memory_make_the_same_catalog_as_their_table(shop, path, in_memory):
    index(shop, path, FakeLook())
    expected = path.read_bytes()
    index(in_memory(rows_of(shop)), path, FakeLook())
    assert path.read_bytes() == expected


def test_images_of_products_in_memory_are_relative_to_the_working_folder(shop, path, monkeypatch):
    monkeypatch.chdir(shop.parent)
    index([{"id": 7, "image": "3.png", "category": "Toys"}], path, FakeLook())
    assert brightness(path) == {"7": 3}


@pytest.mark.parametrize(
    ("products", "message"),
    [
        ([], "no column 'id', 'image', 'category'"),
        ([{"id": "a", "image": "a.jpg"}], "category"),
        (["a.jpg"], "no column 'id'"),
        (7, "products of type int"),
        ([{"id": "a", "image": "a.jpg", "category": "Toys", "embedding": 1}], "rename"),
    ],
    ids=["none", "no category", "text", "number", "reserved"],
)
def test_products_in_memory_that_make_no_catalog_are_refused(path, products, message):
    with pytest.raises(TableError, match=message):
        index(products, path, FakeLook())


@pytest.mark.parametrize("on_error", ["skip", "fail"])
def test_an_embedding_that_is_not_finite_stops_the_run_and_is_never_kept(shop, path, on_error):
    class Broken(FakeLook):
        def embed_product(self, source):
            answer = super().embed_product(source)
            if isinstance(source, str) and source.endswith("3.png"):
                answer.embedding[5] = np.nan
            return answer

    with pytest.raises(ContractError, match=r"product '003': .*has the length nan"):
        index(shop, path, Broken(), on_error=on_error, in_flight=1)
    assert not path.exists()
    index(shop, path, FakeLook())
    assert brightness(path)["003"] == 3


def test_a_broken_model_is_told_with_the_product_that_showed_it(shop, path):
    failure = ContractError("a tensor is not finite")
    with pytest.raises(ContractError, match="product '002': a tensor is not finite"):
        index(shop, path, FakeLook(fail_after=2, failure=failure), in_flight=1)


def test_what_is_not_finite_in_a_ledger_is_embedded_again(shop, path):
    with Ledger(ledger_path(path), 11) as ledger:
        image = Fingerprint.of(str(shop.parent / "2.png"))
        ledger.add(image, np.full(128, np.nan, np.float32))
    assert index(shop, path, FakeLook()).reused == 0
    assert brightness(path)["002"] == 2


def test_a_list_of_failures_is_replaced_whole_or_not_at_all(shop, path, monkeypatch):
    def fill_the_disk(_, target):
        Path(target).write_text("id")
        raise OSError("No space left on device")

    failures_path(path).write_text("old")
    (shop.parent / "1.png").unlink()
    monkeypatch.setattr("pyarrow.csv.write_csv", fill_the_disk)
    with pytest.raises(CatalogError, match=r"failures\.csv: cannot be written: No space"):
        index(shop, path, FakeLook())
    assert failures_path(path).read_text() == "old"


def test_a_killed_run_leaves_what_it_wrote_and_no_lock(tmp_path):
    program = (
        "import os, signal, numpy as np\n"
        "from pathlib import Path\n"
        "from completelook.catalog import ledger\n"
        "ledger.FLUSH_INTERVAL_S = 0\n"
        f"own = ledger.Ledger(Path({str(tmp_path / 'run')!r}), 1)\n"
        "image = ledger.Fingerprint.of('https://shop.example/a.jpg')\n"
        "own.add(image, np.arange(128, dtype=np.float32))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with Ledger(tmp_path / "run", 1) as ledger:
        found = ledger.find("https://shop.example/a.jpg")
    assert found is not None
    assert found.tolist() == list(range(128))


def test_a_missing_picture_is_never_taken_up(tmp_path):
    with Ledger(tmp_path / "run", 1) as ledger:
        ledger.add(Fingerprint(str(tmp_path / "a.jpg"), 1, 1), np.zeros(128, np.float32))
    with Ledger(tmp_path / "run", 1) as ledger:
        assert ledger.find(str(tmp_path / "a.jpg")) is None


def test_bad_rows_and_bad_pictures_are_counted_together(shop, path):
    (shop.parent / "1.png").write_bytes(b"no picture")
    (shop.parent / "2.png").unlink()
    shop.write_text(shop.read_text() + "\n,4.png,Lamps,1\n004,4.png,Lamps,4.5\n009,4.png\n")
    report = index(shop, path, FakeLook())
    assert report.indexed + len(report.skipped) == 8
    with failures_path(path).open(newline="") as file:
        listed = [(int(row["row"]), row["id"]) for row in csv.DictReader(file)]
    assert listed == [(3, "001"), (4, "002"), (7, ""), (8, "004"), (9, "")]


def test_what_would_be_indexed_is_known_before_anything_is_embedded(shop):
    (shop.parent / "2.png").unlink()
    shipment = prepare(shop, MODEL)
    assert (shipment.table.num_rows, shipment.rankable) == (4, 3)
    assert shipment.unknown_categories == {"Toys": 1}
    assert [(skip.row, skip.reason) for skip in shipment.skipped] == [(4, "no such file")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(shop, path):
    path.parent.chmod(0o500)
    with pytest.raises(CatalogError, match="cannot be written"):
        index(shop, path, FakeLook())
