from pathlib import Path

import pyarrow as pa
import pytest
from completelook.catalog.products import read_products
from completelook.errors import TableError
from pyarrow import parquet

CSV = "id,image,category\n1,a.jpg,Rugs\n2,b.jpg,Lamps\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="shop.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def rows(path):
    return read_products(path).table.to_pylist()


def test_a_csv_is_read_with_the_users_columns(write, tmp_path):
    text = 'price,id,image,category,name\n9.5,a,a.jpg,Rugs,"Röd, ""stor"""\n,b,b.jpg,Lamps,\n'
    assert rows(write(text)) == [
        {
            "id": "a",
            "image": str(tmp_path / "a.jpg"),
            "category": "Rugs",
            "price": 9.5,
            "name": 'Röd, "stor"',
        },
        {
            "id": "b",
            "image": str(tmp_path / "b.jpg"),
            "category": "Lamps",
            "price": None,
            "name": "",
        },
    ]


@pytest.mark.parametrize("id_", ["00123", "000.171.33", "1e5", "NA", "null", "true", "2020-01-01"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_id_stays_text(write, tmp_path, id_, kind):
    record = {"id": id_, "image": "a.jpg", "category": "2020-01-02"}
    path = tmp_path / f"shop.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist([record]), path)
    elif kind == "csv":
        write("id,image,category\n" + ",".join(record.values()))
    else:
        write(str(record).replace("'", '"'), path.name)
    assert rows(path)[0]["id"] == id_
    assert rows(path)[0]["category"] == "2020-01-02"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("images/a.jpg", "{folder}/images/a.jpg"),
        ("../a.jpg", "{folder}/../a.jpg"),
        ("/pictures/a.jpg", "/pictures/a.jpg"),
        ("https://shop.example/a b.jpg?w=1", "https://shop.example/a b.jpg?w=1"),
        ("HTTP://shop.example/a.jpg", "HTTP://shop.example/a.jpg"),
    ],
)
def test_images_are_relative_to_the_table(write, tmp_path, monkeypatch, image, expected):
    write(f"id,image,category\n1,{image},Rugs\n")
    monkeypatch.chdir(tmp_path.parent)
    for path in (tmp_path / "shop.csv", Path(tmp_path.name, "shop.csv")):
        assert rows(path)[0]["image"] == expected.format(folder=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xef\xbb\xbf" + CSV.encode(), id="byte order mark"),
        pytest.param(CSV.replace("\n", "\r\n"), id="windows line ends"),
        pytest.param(CSV.rstrip("\n"), id="no last line end"),
        pytest.param(CSV.replace("1,", " 1 ,").replace(",Rugs", ", Rugs"), id="spaces"),
    ],
)
def test_csv_dialects_are_read_alike(write, tmp_path, text):
    assert rows(write(text)) == [
        {"id": "1", "image": str(tmp_path / "a.jpg"), "category": "Rugs"},
        {"id": "2", "image": str(tmp_path / "b.jpg"), "category": "Lamps"},
    ]


def test_a_long_table_may_hold_line_ends_and_change_its_mind(write):
    # pyarrow reads blocks of 1 MiB: a line end in a value must not end one, nor a type hold on.
    lines = "".join(f'{row},a.jpg,Rugs,{row},"one\ntwo\nthree"\n' for row in range(40_000))
    table = read_products(write(f"id,image,category,size,text\n{lines}x,x.jpg,Rugs,XL,y\n")).table
    assert len(table) == 40_001
    assert table["size"][-1].as_py() == "XL"
    assert table["text"][-2].as_py() == "one\ntwo\nthree"


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json", "JSONL"])
def test_json_lines_are_read_with_numbers_for_ids(write, suffix):
    text = (
        '{"id": 7, "image": "a.jpg", "category": "Rugs", "tags": ["x"]}\n\n'
        '{"category": "Rugs", "id": 8, "image": "b.jpg", "price": 2}\n'
    )
    first, second = rows(write(text, f"shop.{suffix}"))
    assert (first["id"], first["tags"], first["price"]) == ("7", ["x"], None)
    assert (second["id"], second["tags"], second["price"]) == ("8", None, 2)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(pa.array([1, 2], pa.int64()), id="integer"),
        pytest.param(pa.array(["1", "2"], pa.large_string()), id="large string"),
        pytest.param(pa.array(["1", "2"], pa.string_view()), id="string view"),
        pytest.param(pa.array(["1", "2"]).dictionary_encode(), id="dictionary"),
    ],
)
def test_parquet_ids_may_be_of_any_text_or_integer_type(tmp_path, ids):
    path = tmp_path / "shop.parquet"
    table = pa.table({"id": ids, "image": ["a.jpg", "b.jpg"], "category": ["Rugs", "Rugs"]})
    parquet.write_table(table, path)
    assert [row["id"] for row in rows(path)] == ["1", "2"]
    assert read_products(path).table.schema.field("id").type == pa.string()


def test_a_folder_gives_ids_and_categories(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "l.png").touch()
    shop = tmp_path / "shop"
    for name in ("Rugs/r2.jpg", "Rugs/r1.PNG", "Home/Decor/m.webp", ".trash/x.jpg", "Rugs/.t.jpg"):
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).touch()
    (shop / "Rugs" / "prices.txt").touch()
    (shop / "Lamps").symlink_to(elsewhere)
    assert [(row["id"], row["category"], row["image"]) for row in rows(shop)] == [
        ("m", "Home|Decor", str(shop / "Home/Decor/m.webp")),
        ("l", "Lamps", str(shop / "Lamps/l.png")),
        ("r1", "Rugs", str(shop / "Rugs/r1.PNG")),
        ("r2", "Rugs", str(shop / "Rugs/r2.jpg")),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param([], "no pictures in sub-folders", id="empty"),
        pytest.param(["a.jpg"], "'a.jpg' lie in no category's sub-folder", id="outside"),
        pytest.param(["x/a.jpg", "y/a.png"], "'a' stand more than once", id="same stem"),
    ],
)
def test_a_folder_of_another_form_is_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(TableError, match=message) as caught:
        read_products(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("a.csv", "", "is empty, 0 bytes", id="no bytes"),
        pytest.param("a.csv", "\n\n", "not a readable .csv table", id="blank csv"),
        pytest.param("a.csv", "id,image,category\n", "holds no rows", id="header only"),
        pytest.param(
            "a.csv",
            "id,picture\n1,a\n",
            "no column 'image', 'category': expected id, image and category, found 'id', 'picture'",
            id="missing columns",
        ),
        pytest.param("a.csv", CSV.replace(",", ";"), "found 'id;image;category'", id="semicolons"),
        pytest.param("a.csv", "id,id,image,category\n1,1,a,b\n", "more than once", id="id twice"),
        pytest.param("a.csv", CSV + "3,c.jpg\n", "Expected 3 columns, got 2", id="short row"),
        pytest.param("a.csv", CSV + "2,c.jpg,Rugs\n", "unique, '2' stand", id="duplicate id"),
        pytest.param("a.csv", CSV + " ,c.jpg,Rugs\n", "id is missing in product 3", id="no id"),
        pytest.param("a.csv", CSV + "3,c.jpg,\n", "category is missing in product 3", id="no name"),
        pytest.param(
            "a.csv",
            CSV + ",,\n" * 9,
            "id is missing in product 3, 4, 5, 6, 7 and 4 more",
            id="many",
        ),
        pytest.param("a.csv", b"id,image,category\n1,\xff\xfe,R\n", "invalid UTF8", id="latin-1"),
        pytest.param(
            "a.csv", "id,image,category,embedding\n1,a,b,c\n", "rename its column", id="embedding"
        ),
        pytest.param("a.jsonl", '{"id": 1}\n{"id', "not a readable .jsonl", id="cut json"),
        pytest.param("a.json", '[{"id": 1}]', "not a readable .json", id="a json list"),
        pytest.param(
            "a.jsonl", '{"id": 1.5, "image": "a", "category": "b"}', "holds double", id="float id"
        ),
        pytest.param(
            "a.jsonl", '{"id": "1", "image": null, "category": "b"}', "image is missing", id="null"
        ),
        pytest.param("a.parquet", "PAR1 no", "not a readable .parquet", id="not parquet"),
        pytest.param("a.xlsx", "PK", "expected a CSV, Parquet or JSON-lines", id="spreadsheet"),
    ],
)
def test_a_bad_table_is_named_with_its_reason(write, name, text, message):
    path = write(text, name)
    with pytest.raises(TableError) as caught:
        read_products(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_table_is_found_through_links_and_dots(write, tmp_path):
    write(CSV)
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "inner" / "..")
    for path in (tmp_path / "inner" / ".." / "shop.csv", tmp_path / "link" / "shop.csv"):
        assert rows(path)[0]["image"] == str(tmp_path / "a.jpg")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(TableError, match=r"none.csv: no such file or folder: expected a CSV"):
        read_products(tmp_path / "none.csv")


def test_the_real_table_is_read_whole():
    path = Path(__file__).parents[2] / "shared" / "ikea" / "products.csv"
    if not path.is_file():
        pytest.skip("the real products are not here")
    products = read_products(path)
    assert len(products) == 1424
    assert products.table["id"][0].as_py() == "000.171.33"
    assert len(products.table["category"].unique()) == 26
    assert all(Path(image).is_file() for image in products.table["image"].to_pylist())
