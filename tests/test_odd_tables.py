"""Tables as people really have them: titles above the header, wrong suffixes, lists in cells."""

import json
import zipfile

import openpyxl
import pyarrow as pa
import pytest
from completelook.catalog.categories import CategoryTable
from completelook.catalog.category_map import in_model_names
from completelook.catalog.shipment import prepare
from completelook.errors import TableError
from completelook.products import read_products
from pyarrow import parquet

HEADER = "id,image,category\n"


@pytest.mark.parametrize(
    ("before", "header_row"),
    [
        ("\n\n", 3),
        ("My shop,,\n,,\n", 3),
        ("# exported 2024\n", 2),
        ("# Required | the id,# Required | a link,# Required | where\n", 2),
        ("sep=,\nMy shop\n", 2),  # Excel takes the first line for itself
    ],
    ids=["blank lines", "title", "remark", "remarks over columns", "separator and title"],
)
def test_what_stands_above_the_header_is_left_and_rows_keep_their_numbers(
    write, before, header_row
):
    products = read_products(
        write(f"{before}{HEADER}1,a.jpg,Rugs\n\n,,\n2,b.jpg\n3,c.jpg,Rugs\n\n")
    )
    assert products.table["id"].to_pylist() == ["1", "3"]
    assert list(products.rows) == [header_row + 1, header_row + 5]
    assert [skip.row for skip in products.skipped] == [header_row + 4]
    assert f"header in row {header_row}" in products.notes[0]


@pytest.mark.parametrize("behind", [",", ",,"])
def test_delimiters_behind_every_row_are_no_cells(write, behind):
    text = HEADER + f"1,a.jpg,Rugs{behind}\n2,b.jpg,Lamps{behind}\n"
    assert read_products(write(text)).table.column_names == ["id", "image", "category"]
    assert len(read_products(write(text))) == 2


def test_a_quote_that_is_never_closed_is_told_with_what_it_swallows(write):
    text = f'{HEADER.strip()},name\n1,a.jpg,Rugs,fine\n2,b.jpg,Rugs,"open\n3,c.jpg,Rugs,x\n'
    products = read_products(write(text))
    assert products.table["id"].to_pylist() == ["1"]
    (skip,) = products.skipped
    assert skip.row == 3
    assert "never closed, so that it holds the 1 lines" in skip.reason


def test_a_last_cell_of_several_lines_is_whole(write):
    text = f'{HEADER.strip()},name\n1,a.jpg,Rugs,19" wide\n2,b.jpg,Rugs,"of\nseveral"\n'
    assert read_products(write(text)).table["name"].to_pylist() == ['19" wide', "of\nseveral"]


def test_columns_of_one_name_are_all_kept_and_told(write):
    products = read_products(write("id,image,category,tag,tag\n1,a.jpg,Rugs,x,y\n"))
    assert products.table.select(["tag", "tag 2"]).to_pylist() == [{"tag": "x", "tag 2": "y"}]
    assert any("'tag' is there more than once" in note for note in products.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>log in</html>", "is a web page"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "an Excel workbook of before 2007"),
        (b"%PDF-1.4", "is a PDF"),
        (b"ARROW1\0\0", "is an Arrow file"),
    ],
    ids=["html", "xls", "pdf", "arrow"],
)
@pytest.mark.parametrize("name", ["shop.csv", "shop.xml"])
def test_a_file_that_is_no_table_is_called_what_it_is(write, content, message, name):
    with pytest.raises(TableError, match=message):
        read_products(write(content, name))


def test_a_table_is_known_by_its_content_whatever_its_suffix(tmp_path):
    table = pa.table({"id": ["1"], "image": ["a.jpg"], "category": ["Rugs"]})
    parquet.write_table(table, tmp_path / "shop.csv")
    assert len(read_products(tmp_path / "shop.csv")) == 1
    with zipfile.ZipFile(tmp_path / "packed.csv", "w") as archive:
        archive.writestr("shop.csv", HEADER)
    with pytest.raises(TableError, match="is a zip archive: unpack it"):
        read_products(tmp_path / "packed.csv")


@pytest.mark.parametrize("name", ["shop.xlsx", "shop.csv"])
def test_a_workbooks_table_may_stand_on_another_sheet_below_a_title(tmp_path, name):
    book = openpyxl.Workbook()
    book.active.append(["Read me first"])
    sheet = book.create_sheet("Products")
    for row in (["Our shop"], [], ["id", "image", "category"], ["007", "a.jpg", "Rugs"]):
        sheet.append(row)
    with (tmp_path / name).open("wb") as file:
        book.save(file)
    products = read_products(tmp_path / name)
    assert products.table["id"].to_pylist() == ["007"]
    assert list(products.rows) == [4]
    assert products.notes == ("read from sheet 'Products', header in row 3",)


@pytest.mark.parametrize("indent", [None, 1])
def test_the_array_of_a_json_file_may_stand_in_an_object(write, indent):
    record = {"id": "1", "image": "a.jpg", "category": "Rugs", "sizes": [{"w": 1}]}
    for content in ({"products": [record], "count": 1}, record, [record]):
        products = read_products(write(json.dumps(content, indent=indent), "shop.json"))
        assert products.table["id"].to_pylist() == ["1"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("a.jpg, b.jpg", "{folder}/a.jpg"),
        ("a.jpg|b.png|c.webp", "{folder}/a.jpg"),
        ('["a.jpg", "b.jpg"]', "{folder}/a.jpg"),
        ("https://x.example/a.jpg,https://x.example/b.jpg", "https://x.example/a.jpg"),
        ("//cdn.example/a.jpg https://x.example/b", "https://cdn.example/a.jpg"),
        ("https://x.example/w_10,h_10/a.jpg", "https://x.example/w_10,h_10/a.jpg"),
        ("there, with a comma.jpg", "{folder}/there, with a comma.jpg"),
        ("gone, not a list.jpg", "{folder}/gone, not a list.jpg"),
        ("sub\\there.jpg", "{folder}/sub/there.jpg"),
    ],
)
def test_of_several_pictures_in_a_cell_the_first_is_taken(tmp_path, cell, expected):
    (tmp_path / "sub").mkdir()
    for name in ("there, with a comma.jpg", "sub/there.jpg"):
        (tmp_path / name).touch()
    table = pa.table({"id": ["1"], "image": [cell], "category": ["Rugs"]})
    parquet.write_table(table, tmp_path / "shop.parquet")
    products = read_products(tmp_path / "shop.parquet")
    assert products.table["image"].to_pylist() == [expected.format(folder=tmp_path)]
    is_told = any("several pictures" in note for note in products.notes)
    assert is_told == (cell.startswith(("a.jpg", "[", "//")) or cell.count("https") > 1)


def test_a_column_of_lists_of_pictures_is_read():
    table = pa.table(
        {"id": ["1", "2"], "image": [["a.jpg", "b.jpg"], None], "category": ["R", "R"]}
    )
    products = read_products(table)
    assert products.table["image"].to_pylist()[0].endswith("/a.jpg")
    assert [skip.reason for skip in products.skipped] == ["no image"]


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("file:///a.jpg", "not fetched: expected http or https, not file"),
        ("data:image/png;base64,AAAA", "not data"),
        ("C:\\shop\\a.jpg", "a Windows drive"),
        ("www.shop.example/a.jpg", "does https:// stand before it"),
        ("a.jpg", "no such file"),
    ],
)
def test_a_picture_that_is_not_there_says_what_it_was_taken_for(image, reason):
    table = pa.table({"id": ["1"], "image": [image], "category": ["Rugs"]})
    (skip,) = prepare(table, ("Rugs",)).skipped
    assert reason in skip.reason


@pytest.mark.parametrize(
    "written",
    [
        "Home >> Rugs",
        "home » rugs",
        "Home → Rugs",
        "Home::Rugs",
        "home/rugs/",
        "Home &gt; Rugs",
        "|Home|Rugs|",
        "Home/Rugs/Round",
        "Home\\Rugs",
    ],
)
def test_a_path_may_be_written_as_shops_do(written):
    found = in_model_names([written], CategoryTable(("Home|Rugs", "Garden|Chairs")), {})
    assert found == {written: "Home|Rugs"}


def test_a_number_of_googles_taxonomy_gives_way_to_the_shops_own_category(write):
    text = "id,image_link,google_product_category,product_type\n1,a.jpg,536,Rugs\n2,b.jpg,Lamps,X\n"
    text += "3,c.jpg,,Rugs\n4,d.jpg,536,\n"
    products = read_products(write(text))
    assert products.table["category"].to_pylist() == ["Rugs", "Lamps", "Rugs", "536"]


def test_shopifys_newer_export_is_one_product_a_handle(write):
    text = "Title,URL handle,Product category,Type,Product image URL,Image position\n"
    text += "T,x,Rugs,T,a.jpg,1\n,x,,,b.jpg,2\n"
    products = read_products(write(text))
    assert products.table.select(["id", "category", "Title"]).to_pylist() == [
        {"id": "x", "category": "Rugs", "Title": "T"}
    ]


def test_a_repeated_id_is_told_beside_what_else_is_wrong(write):
    (skip,) = read_products(write(HEADER + "1,a.jpg,Rugs\n1,b.jpg,\n")).skipped
    assert skip.reason == "no category, and the id stands in row 2 already, with another image"
