import gzip
import os
import tempfile
from pathlib import Path

import pandas
import polars
import pyarrow as pa
import pytest
from completelook.errors import TableError
from completelook.products import read_products
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

CSV = "id,image,category\n1,a.jpg,Rugs\n2,b.jpg,Lamps\n"
HEADER = "id,image,category\n"


def rows(path, **columns):
    return read_products(path, columns).table.to_pylist()


def skips(path, **columns):
    return [(skip.row, skip.id, skip.reason) for skip in read_products(path, columns).skipped]


def test_a_csv_is_read_with_the_users_columns(write, tmp_path):
    text = 'price,id,image,category,name\n9.5,a,a.jpg,Rugs,"Röd, ""stor"""\n,b,b.jpg,Lamps,\n'
    first, second = rows(write(text))
    assert first == {
        "id": "a",
        "image": str(tmp_path / "a.jpg"),
        "category": "Rugs",
        "price": 9.5,
        "name": 'Röd, "stor"',
    }
    assert (second["price"], second["name"]) == (None, "")


@pytest.mark.parametrize("id_", ["00123", "000.171.33", "1e5", "NA", "null", "true", "2020-01-01"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_id_stays_text(write, tmp_path, id_, kind):
    record = {"id": id_, "image": "a.jpg", "category": "2020-01-02"}
    path = tmp_path / f"shop.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist([record]), path)
    elif kind == "csv":
        write(HEADER + ",".join(record.values()))
    else:
        write(str(record).replace("'", '"'), path.name)
    assert rows(path)[0]["id"] == id_
    assert rows(path)[0]["category"] == "2020-01-02"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["0012345678905", "0099"], pa.string()),
        (["1e5", "2e3"], pa.string()),
        (["007", "042"], pa.string()),
        (["49.90", "9.50"], pa.string()),
        (["49,99", "9,50"], pa.string()),
        (["1", "two"], pa.string()),
        (["NaN", "1.5"], pa.string()),
        (["9223372036854775808", "1"], pa.string()),
        (["true", "false"], pa.string()),
        (["7", "-12"], pa.int64()),
        (["9.5", "0.25"], pa.float64()),
    ],
)
def test_a_column_is_numbers_only_where_every_cell_survives_the_round_trip(write, cells, kind):
    text = "id,image,category,own\n" + "".join(
        f'{place},a.jpg,Rugs,"{cell}"\n' for place, cell in enumerate(cells)
    )
    table = read_products(write(text)).table
    assert table.schema.field("own").type == kind
    assert [str(value) for value in table["own"].to_pylist()] == cells


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("images/a.jpg", "{folder}/images/a.jpg"),
        ("../a.jpg", "{folder}/../a.jpg"),
        ("/pictures/a.jpg", "/pictures/a.jpg"),
        ("https://shop.example/a b.jpg?w=1", "https://shop.example/a b.jpg?w=1"),
        ("HTTP://shop.example/a.jpg", "HTTP://shop.example/a.jpg"),
        ("//shop.example/a.jpg", "https://shop.example/a.jpg"),
    ],
)
def test_images_are_relative_to_the_table(write, tmp_path, monkeypatch, image, expected):
    write(f"{HEADER}1,{image},Rugs\n")
    monkeypatch.chdir(tmp_path.parent)
    for path in (tmp_path / "shop.csv", Path(tmp_path.name, "shop.csv")):
        assert rows(path)[0]["image"] == expected.format(folder=tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xef\xbb\xbf" + CSV.encode(), id="byte order mark"),
        pytest.param(CSV.encode("utf-16"), id="UTF-16"),
        pytest.param(CSV.encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(CSV.encode("utf-16-be"), id="UTF-16 the other way round"),
        pytest.param(gzip.compress(CSV.encode()), id="gzip"),
        pytest.param(CSV.replace("\n", "\r\n"), id="windows line ends"),
        pytest.param(CSV.rstrip("\n"), id="no last line end"),
        pytest.param(CSV.replace("1,", " 1 ,").replace(",Rugs", ", Rugs"), id="spaces"),
        pytest.param(CSV.replace(",", ";"), id="semicolons"),
        pytest.param(CSV.replace(",", "\t"), id="tabs"),
        pytest.param(CSV.replace(",", "|"), id="pipes"),
        pytest.param("sep=;\n" + CSV.replace(",", ";"), id="Excel names the separator"),
        pytest.param("ID, Image ,CATEGORY\n" + CSV.partition("\n")[2], id="header in capitals"),
        pytest.param(CSV.replace("category", "category,,"), id="ragged header is not a column"),
    ],
)
def test_csv_dialects_are_read_alike(write, tmp_path, text):
    if isinstance(text, str) and "category,," in text:
        text = text.replace("Rugs", "Rugs,,").replace("Lamps", "Lamps,,")
    assert rows(write(text)) == [
        {"id": "1", "image": str(tmp_path / "a.jpg"), "category": "Rugs"},
        {"id": "2", "image": str(tmp_path / "b.jpg"), "category": "Lamps"},
    ]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".csv.gz", ".TSV"])
def test_delimited_text_is_known_by_any_of_its_suffixes(write, suffix):
    text = CSV.replace(",", "\t").encode()
    path = write(gzip.compress(text) if suffix.endswith(".gz") else text, f"shop{suffix}")
    assert [row["id"] for row in rows(path)] == ["1", "2"]


def test_the_dialect_is_said_in_one_line(write):
    path = write("id;image;category;name\n1;a.jpg;Rugs;Läufer\n".encode("cp1252"))
    products = read_products(path)
    assert products.notes == ("read as CP1252, columns separated by semicolons",)
    assert products.table["name"].to_pylist() == ["Läufer"]


def test_pipes_in_categories_do_not_make_columns(write):
    text = "id,image,category\n1,a.jpg,Home|Decor|Rugs\n2,b.jpg,Home|Decor|Mirrors\n"
    assert [row["category"] for row in rows(write(text))] == [
        "Home|Decor|Rugs",
        "Home|Decor|Mirrors",
    ]


def test_inches_in_an_unquoted_feed_swallow_no_row(write):
    text = 'id\timage\tcategory\ttitle\n1\ta.jpg\tRugs\t"12" plate\n2\tb.jpg\tRugs\tx\n'
    first, second = rows(write(text, "feed.tsv"))
    assert (first["title"], second["title"]) == ('"12" plate', "x")


def test_a_quoted_feed_may_hold_tabs_and_line_ends(write):
    text = 'id\timage\tcategory\ttitle\n1\ta.jpg\tRugs\t"a\tb\r\nc"\n2\tb.jpg\tRugs\tx\n'
    first, second = rows(write(text, "feed.tsv"))
    assert (first["title"], second["title"]) == ("a\tb\r\nc", "x")


def test_one_row_of_another_encoding_is_skipped_and_the_rest_kept(write):
    text = "id,image,category,name\n1,a.jpg,Rugs,Läufer\n2,b.jpg,Rugs,Stühle\n".encode()
    path = write(text + "3,c.jpg,Rugs,Grün\n".encode("cp1252") + b"4,d.jpg,Rugs,x\n")
    assert [row["id"] for row in rows(path)] == ["1", "2", "4"]
    assert skips(path) == [(4, "", "a cell is not UTF-8")]


def test_a_cell_may_hold_five_megabytes_and_any_line_end(write):
    long = "x" * 5_000_000 + "\n\r\n\r" + "y"
    text = f'id,image,category,description\n1,a.jpg,Rugs,"{long}"\n2,b.jpg,Rugs,z\n'
    assert [row["description"] for row in rows(write(text))] == [long, "z"]


def test_a_long_table_may_hold_line_ends_and_change_its_mind(write):
    lines = "".join(f'{row},a.jpg,Rugs,{row},"one\ntwo\nthree"\n' for row in range(40_000))
    table = read_products(write(f"id,image,category,size,text\n{lines}x,x.jpg,Rugs,XL,y\n")).table
    assert len(table) == 40_001
    assert table["size"][-1].as_py() == "XL"
    assert table["size"][0].as_py() == "0"
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


def test_a_json_array_is_read_as_its_lines_would_be(write):
    text = '[{"id": 1, "image": "a.jpg", "category": "Rugs"},\n {"id": 2}, 5]'
    path = write(text, "shop.json")
    assert [row["id"] for row in rows(path)] == ["1"]
    assert skips(path) == [(2, "2", "no image, no category"), (3, "", "not an object with columns")]


def test_a_column_of_numbers_and_texts_is_text(write):
    lines = [
        f'{{"id": {n}, "image": "a.jpg", "category": "Rugs", "size": {size}}}\n'
        for n, size in enumerate(["1", '"XL"', "[2]", "null"])
    ]
    path = write("".join(lines), "shop.jsonl")
    assert [row["size"] for row in rows(path)] == ["1", "XL", "[2]", None]


def test_a_broken_json_line_is_skipped(write):
    path = write('{"id": 1, "image": "a", "category": "b"}\n{"id": 2, "im\n', "shop.jsonl")
    assert [row["id"] for row in rows(path)] == ["1"]
    assert skips(path) == [(2, "", "not an object with columns")]


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(pa.array([1, 2], pa.int64()), id="integer"),
        pytest.param(pa.array([1.0, 2.0]), id="whole numbers as pandas keeps them"),
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


def test_parquet_columns_keep_their_types(tmp_path):
    own = pa.table(
        {
            "id": ["1"],
            "image": ["a.jpg"],
            "category": ["Rugs"],
            "tags": pa.array([["x"]], pa.list_(pa.string())),
            "size": pa.array([{"w": 1}], pa.struct([("w", pa.int8())])),
            "day": pa.array([3], pa.date32()),
            "price": pa.array([1], pa.decimal128(5, 2)),
        }
    )
    path = tmp_path / "shop.parquet"
    parquet.write_table(own, path)
    table = read_products(path).table
    for name in ("tags", "size", "day", "price"):
        assert table.schema.field(name).type == own.schema.field(name).type
        assert table[name].to_pylist() == own[name].to_pylist()


def test_an_excel_sheet_is_read_as_it_shows(tmp_path):
    frame = pandas.DataFrame(
        {"id": [7, 8], "image": ["a.jpg", "b.jpg"], "category": ["Rugs"] * 2, "size": ["1e5", "M"]}
    )
    frame.to_excel(tmp_path / "shop.xlsx", index=False)
    first, second = rows(tmp_path / "shop.xlsx")
    assert (first["id"], first["size"], second["size"]) == ("7", "1e5", "M")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(pa.Table.from_pylist, id="pyarrow"),
        pytest.param(pandas.DataFrame, id="pandas"),
        pytest.param(polars.DataFrame, id="polars"),
        pytest.param(lambda records: records, id="mappings"),
        pytest.param(iter, id="an iterator of mappings"),
    ],
)
def test_frames_and_mappings_are_tables_too(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = [
        {"id": "1", "image": "a.jpg", "category": "Rugs", "price": 5},
        {"id": "2", "image": "https://shop.example/b.jpg", "category": "Lamps", "price": 6},
    ]
    assert rows(make(records)) == [{**records[0], "image": str(tmp_path / "a.jpg")}, records[1]]


# The failures of one row, and every row accounted for.


@pytest.mark.parametrize(
    ("row", "skip"),
    [
        ("3,,Rugs", "no image"),
        ("3,c.jpg,", "no category"),
        (",c.jpg,Rugs", "no id"),
        ("3,c.jpg,nan", "no category but 'nan'"),
        ("3,NULL,#N/A", "no image but 'NULL', no category but '#N/A'"),
        ("3,c.jpg", "2 cells where the header has 3"),
        ("3,c.jpg,Rugs,x", "4 cells where the header has 3: is a cell with commas unquoted?"),
        ("1,a.jpg,Rugs", "repeats row 2"),
        ("1,c.jpg,Rugs", "the id stands in row 2 already, with another image"),
        ("1,a.jpg,Lamps", "the id stands in row 2 already, with another category"),
    ],
)
def test_one_bad_row_stops_none_of_the_others(write, row, skip):
    products = read_products(write(f"{CSV}{row}\n4,d.jpg,Rugs\n"))
    assert products.table["id"].to_pylist() == ["1", "2", "4"]
    assert [(skipped.row, skipped.reason) for skipped in products.skipped] == [(4, skip)]


def test_a_table_without_rows_in_another_encoding_is_refused(write):
    """Found by fuzzing."""
    found = bytes.fromhex(
        "6e6b225d0a2e6a222c692c0a2e6c696e6b1ad3b39ef2f2f20a332c0a2e6c696e6b1ad3b33b"
    )
    with pytest.raises(TableError):
        read_products(write(found))


def test_a_table_of_bad_rows_alone_is_no_error_of_its_own(write):
    """Found by fuzzing."""
    products = read_products(write(f"{HEADER}1,,Rugs\n2,b.jpg,\n"))
    assert products.table.num_rows == 0
    assert [skip.row for skip in products.skipped] == [2, 3]


@given(
    name=st.sampled_from(
        ["shop.csv", "shop.jsonl", "shop.json", "shop.tsv", "shop.csv.gz", "shop.xml"]
    ),
    text=st.one_of(
        st.binary(max_size=200),
        st.text('id,mageoctry"\t\n\r;|1\0é{}[]:', max_size=200).map(str.encode),
        st.lists(
            st.sampled_from(["<item>", "</item>", "<id>", "</id>", "1", "&a;", "<a b='", "'>"])
        )
        .map("".join)
        .map(str.encode),
        st.text('12,.jpgRus"\n\r;\0é', max_size=200).map(lambda cells: (HEADER + cells).encode()),
    ),
)
def test_no_bytes_of_a_table_raise_anything_but_a_table_error(name, text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(text)
        try:
            products = read_products(path)
        except TableError:
            return
        assert len(products.rows) == products.table.num_rows


def test_every_kind_of_problem_is_told_in_one_go(write):
    path = write(f"{CSV}3,,Rugs\n1,a.jpg,Rugs\n5,e.jpg\n6,f.jpg,NULL\n")
    assert [number for number, _, _ in skips(path)] == [4, 5, 6, 7]


# Feeds.

GOOGLE = (
    "id\ttitle\tlink\timage_link\tprice\tgoogle_product_category\tproduct_type\tgtin\n"
    "001\tChair\thttps://s.example/1\t1.jpg\t49.99 EUR\tFurniture > Chairs\tx\t0012\n"
    "002\tRug\thttps://s.example/2\t2.jpg\t9.50 EUR\t\tHome > Rugs\t0013\n"
)
SHOPIFY = (
    "Handle,Title,Vendor,Product Category,Type,Variant SKU,Variant Price,Image Src,Image Position\n"
    "chair,Chair,ACME,Furniture > Chairs,x,'001,49.99,a.jpg,1\n"
    "chair,,,,,,,a2.jpg,2\n"
    "rug,Rug,ACME,,Rugs,'002,9.99,,\n"
    "rug,,,,,,,r.jpg,1\n"
)


def test_a_google_merchant_feed_goes_in_as_it_is(write, tmp_path):
    first, second = rows(write(GOOGLE, "feed.txt"))
    assert first["id"] == "001"
    assert first["image"] == str(tmp_path / "1.jpg")
    assert first["category"] == "Furniture > Chairs"
    assert second["category"] == "Home > Rugs"  # product_type stands in
    assert [first[name] for name in ("title", "price", "link", "gtin")] == [
        *("Chair", "49.99 EUR", "https://s.example/1", "0012")
    ]
    assert any(
        "Google Merchant feed" in note for note in read_products(tmp_path / "feed.txt").notes
    )


def test_a_shopify_export_is_one_product_a_handle_with_its_first_picture(write):
    path = write(SHOPIFY)
    assert [(row["id"], Path(row["image"]).name, row["category"]) for row in rows(path)] == [
        ("chair", "a.jpg", "Furniture > Chairs"),
        ("rug", "r.jpg", "Rugs"),
    ]
    products = read_products(path)
    assert products.skipped == ()
    assert products.notes[-1] == (
        "2 products; 2 rows of further pictures and variants belong to them"
    )


def test_a_column_of_another_name_is_named(write):
    path = write("sku,foto,group,price\n1,a.jpg,Rugs,5\n")
    (row,) = rows(path, id="sku", image="foto", category="Group")
    assert (row["id"], row["category"], row["price"]) == ("1", "Rugs", 5)
    assert "sku" not in row


@pytest.mark.parametrize(
    ("header", "hints"),
    [
        ("sku,image_url,product_type", "--column id=sku --column image=image_url"),
        ("id,Bild,category", "--column image=Bild"),
        ("id,image,Product Type", "--column category='Product Type'"),
        ("id,imgae,category", "--column image=imgae"),
    ],
)
def test_near_misses_are_named(write, header, hints):
    with pytest.raises(TableError, match="expected id, image and category") as caught:
        read_products(write(f"{header}\n1,2,3\n"))
    assert hints in str(caught.value)


def test_a_named_column_that_is_not_there_is_an_error(write):
    with pytest.raises(TableError, match="no column 'foto', did you mean 'photo'"):
        read_products(write("id,photo,category\n1,a,b\n"), {"image": "foto"})


# Folders.


def folder(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_gives_ids_and_categories(tmp_path):
    folder(tmp_path / "elsewhere", "l.png")
    shop = folder(tmp_path / "shop", "Rugs/r2.jpg", "Rugs/r1.PNG", "Home/Decor/m.webp")
    (shop / "Lamps").symlink_to(tmp_path / "elsewhere")
    assert [(row["id"], row["category"], row["image"]) for row in rows(shop)] == [
        ("m", "Home|Decor", str(shop / "Home/Decor/m.webp")),
        ("l", "Lamps", str(shop / "Lamps/l.png")),
        ("r1", "Rugs", str(shop / "Rugs/r1.PNG")),
        ("r2", "Rugs", str(shop / "Rugs/r2.jpg")),
    ]


def test_ids_are_paths_where_file_names_collide(tmp_path):
    shop = folder(tmp_path, "Rugs/001.jpg", "Chairs/001.jpg", "Chairs/002.JPG")
    assert [row["id"] for row in rows(shop)] == ["Chairs/001", "002", "Rugs/001"]


def test_what_a_system_leaves_in_a_folder_is_no_product(tmp_path):
    shop = folder(
        tmp_path,
        *(".DS_Store", "Rugs/._r.jpg", "Rugs/Thumbs.db", "Rugs/desktop.ini", ".trash/x.jpg"),
        *("__MACOSX/Rugs/._r.jpg", "README.txt", "Rugs/manual.pdf", "Rugs/clip.mp4", "Rugs/r.jpg"),
    )
    products = read_products(shop)
    assert products.table["id"].to_pylist() == ["r"]
    assert products.skipped == ()
    assert products.notes == ("left out what are no pictures: 1 .txt, 1 .mp4, 1 .pdf",)


def test_every_picture_of_a_folder_that_is_not_taken_has_its_reason(tmp_path):
    shop = folder(tmp_path / "shop", "top.jpg", "Rugs/raw.cr2", "Rugs/r.jpg")
    folder(tmp_path / "more", "m.jpg")
    (shop / "Rugs" / "linked").symlink_to(tmp_path / "more")
    assert {(skip.image, skip.reason) for skip in read_products(shop).skipped} == {
        ("top.jpg", "lies in no category's sub-folder"),
        ("Rugs/raw.cr2", "a CR2 picture, which is not read here"),
        ("Rugs/linked", "a link to a folder below the categories is not followed"),
    }


def test_a_heic_is_a_product_where_it_can_be_read(tmp_path):
    shop = folder(tmp_path, "Rugs/phone.heic")
    assert [row["id"] for row in rows(shop)] == ["phone"]


def test_a_file_name_that_is_not_utf_8_is_skipped(tmp_path):
    shop = folder(tmp_path, "Rugs/r.jpg")
    Path(os.fsdecode(os.fsencode(shop) + b"/Rugs/t\xfc.jpg")).touch()
    products = read_products(shop)
    assert products.table["id"].to_pylist() == ["r"]
    assert [(skip.image, skip.reason) for skip in products.skipped] == [
        ("Rugs/t\N{REPLACEMENT CHARACTER}.jpg", "its name is not UTF-8: rename it")
    ]


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(TableError, match="holds no products"):
        read_products(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("a.csv", "", "is empty, 0 bytes", id="no bytes"),
        pytest.param("a.csv", "\n\n", "is empty, it holds no header", id="blank csv"),
        pytest.param("a.csv", HEADER, "holds no products", id="header only"),
        pytest.param("a.csv", "id,id,image,category\n1,1,a,b\n", "more than once", id="id twice"),
        pytest.param(
            "a.csv", "id,image,category,embedding\n1,a,b,c\n", "rename its column", id="embedding"
        ),
        pytest.param("a.csv.gz", b"\x1f\x8b\x08no", "not a whole gzip file", id="cut gzip"),
        pytest.param("a.json", '[{"id": 1}', "not a whole JSON array", id="cut json"),
        pytest.param("a.jsonl", b'{"id": "\xff"}', "is not UTF-8", id="latin-1 json"),
        pytest.param(
            "a.jsonl", '{"id": 1.5, "image": "a", "category": "b"}', "holds double", id="float id"
        ),
        pytest.param("a.parquet", "PAR1 no", "not a readable Parquet", id="not parquet"),
        pytest.param("a.xlsx", "PK", "not a readable Excel workbook", id="not a workbook"),
        pytest.param("a.ods", "PK", "not a known kind of table", id="another spreadsheet"),
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
    with pytest.raises(TableError, match=r"none.csv: no such file or folder: expected a table"):
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
