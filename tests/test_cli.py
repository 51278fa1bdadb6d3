import json
import os
import signal
import socket
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

import grpc
import httpx
import numpy as np
import pyarrow as pa
import pytest
from completelook import Catalog, cli, server
from completelook.catalog import write_catalog
from fakes import (
    CALIBRATION,
    CATEGORIES,
    MODEL_ID,
    FakeTriton,
    axis,
    expected_distances,
    make_catalog,
    picture,
)
from PIL import Image

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def run(triton: FakeTriton, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line against the fake server: exit code, stdout, stderr."""
    monkeypatch.setenv("COMPLETELOOK_SERVER", triton.address)

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["completelook", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run_command


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of three rugs."""
    for red in range(3):
        picture(red).save(tmp_path / f"{red}.png")
    path = tmp_path / "products.csv"
    path.write_text("id,image,category\n" + "".join(f"r{n},{n}.png,Home|Rugs\n" for n in range(3)))
    return path


def test_categories_are_one_a_line_in_the_models_order(run) -> None:
    assert run("categories") == (0, "\n".join(CATEGORIES) + "\n", "")


def test_the_server_option_beats_the_environment(run, triton: FakeTriton, monkeypatch) -> None:
    monkeypatch.setenv("COMPLETELOOK_SERVER", NOWHERE)
    assert run("categories")[0] == 1
    assert run("categories", "--server", triton.address)[0] == 0


def test_rank_prints_a_table_per_category(run, scene: Path, catalog_path: Path) -> None:
    code, out, _ = run("rank", scene, "--catalog", catalog_path, "--top", 2)
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert ["Home|Rugs", "for", "room.png"] in lines
    assert ["1", "rug-3", "The", "rug", "<3>", "1.0000", "0.0000", "2.0000"] in lines
    assert ["1", "chair-3", "The", "chair", "<3>", "1.0000", "0.0000", "2.0000"] in lines
    assert sum(line[0].isdigit() for line in lines) == 4


def test_a_piped_table_is_as_wide_as_its_longest_id(run, tmp_path: Path, scene: Path) -> None:
    long_id = "sku-[bold]" + "0123456789" * 30
    products = pa.table({"id": [long_id], "category": [CATEGORIES[0]], "image": ["x.jpg"]})
    write_catalog(
        tmp_path / "c.arrow",
        products,
        axis(0)[np.newaxis],
        model_id=MODEL_ID,
        categories=CATEGORIES,
    )
    assert long_id in run("rank", scene, "--catalog", tmp_path / "c.arrow")[1]


def test_rank_json_is_one_object_per_product(run, scene: Path, catalog_path: Path) -> None:
    code, out, err = run(
        "rank",
        scene,
        scene,
        "--catalog",
        catalog_path,
        "--category",
        "chairs",
        "--top",
        1,
        "--json",
    )
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 2
    global_distance, local_distance = expected_distances(3, 3, 3)
    assert lines[0] == {
        "scene": str(scene),
        "category": "Garden|Chairs",
        "rank": 1,
        "id": "chair-3",
        "image": str(catalog_path.parent / "products" / "3.png"),
        "distance": (global_distance + local_distance) / 2,
        "global_distance": global_distance,
        "local_distance": local_distance,
        "compatibility": None,
        "product": {"name": "The chair <3>"},
        "folded": [],
        "model_rank": None,
        "moved_by": [],
    }


@pytest.fixture
def priced(tmp_path: Path) -> Path:
    """A catalog of one rug with columns of all kinds."""
    products = pa.table(
        {
            "id": ["r"],
            "category": [CATEGORIES[0]],
            "image": ["x.jpg"],
            "price": [float("nan")],
            "Title": ["A [bold] rug"],
            "since": [date(2024, 5, 1)],
            "sizes": [[1.5, None]],
        }
    )
    path = tmp_path / "priced.arrow"
    embeddings = axis(0)[np.newaxis]
    write_catalog(path, products, embeddings, model_id=MODEL_ID, categories=CATEGORIES)
    return path


def test_the_columns_asked_for_stand_in_the_table(run, scene: Path, priced: Path) -> None:
    out = run("rank", scene, "--catalog", priced)[1]
    assert "A [bold] rug" in out
    assert "2024" not in out
    out = run("rank", scene, "--catalog", priced, "--show", "since", "--show", "sizes")[1]
    heading, product = (line for line in out.splitlines() if line.lstrip()[:1] in ("#", "1"))
    assert heading.split() == ["#", "id", "Title", "since", "sizes", "distance", "global", "local"]
    assert "A [bold] rug   2024-05-01   [1.5, None]" in product


def test_the_columns_asked_for_stand_in_the_json(run, scene: Path, priced: Path) -> None:
    arguments = [f"--show={column}" for column in ("since", "price", "sizes")]
    out = run("rank", scene, "--catalog", priced, "--json", *arguments)[1]
    assert json.loads(out, parse_constant=pytest.fail)["product"] == {
        "Title": "A [bold] rug",
        "since": "2024-05-01",
        "price": None,
        "sizes": [1.5, None],
    }


def test_the_columns_asked_for_stand_on_the_page(
    run, scene: Path, priced: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run("rank", scene, "--catalog", priced, "--show", "since", "--html", page)
    assert "<b>A [bold] rug</b>" in page.read_text()
    assert "<span>since: 2024-05-01</span>" in page.read_text()
    assert "sizes" not in page.read_text()


def test_a_column_that_is_not_there_is_one_line_that_lists_what_is(
    run, triton: FakeTriton, scene: Path, priced: Path
) -> None:
    result = run("rank", scene, "--catalog", priced, "--show", "prize")
    assert_one_line_error(result, "no column 'prize': it has 'price', 'Title', 'since', 'sizes'")
    assert not triton.calls


def test_rules_change_the_order_and_the_ledger_stands_below(
    run, scene: Path, catalog_path: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[category.Rugs]\npin = ['rug-5']\nexclude = ['rug-3']\n")
    page = tmp_path / "page.html"
    arguments = ["rank", scene, "--catalog", catalog_path, "--top", 2, "--rules", rules]
    code, out, _ = run(*arguments, "--html", page)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    # Without rules rug-3 is at 1.0, 0 and 1 at 1.5, the rest at 2.0.
    assert "1 rug-5 The rug <5> 2.0000 2.0000 2.0000 6 rug-3" in lines
    assert "2 rug-0 The rug <0> 1.5000 2.0000 1.0000 2 rug-0" in lines
    assert "pin rug-5 (Rugs) +0.2500 rug-5 at 1 rug-1 1 lower" in lines
    assert "exclude rug-3 (Rugs) +0.2500 rug-0 at 2 rug-3" in lines
    assert "all rules together +0.5000" in lines
    text = " ".join(page.read_text().split())
    assert "number 6 by the model alone" in text
    assert '<th scope="row">pin rug-5 <small>Rugs</small>' in text
    out = run(*arguments, "--json", "--category", "Rugs")[1]
    first = json.loads(out.splitlines()[0])
    assert (first["id"], first["model_rank"]) == ("rug-5", 6)
    assert first["moved_by"] == ["pin rug-5"]


def test_rules_that_make_no_sense_are_one_line_and_cost_no_inference(
    run, triton: FakeTriton, scene: Path, catalog_path: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("pin = ['rug-9']")
    code, _, err = run("rank", scene, "--catalog", catalog_path, "--rules", rules)
    assert code == 2
    assert f"error: {rules}: pin rug-9: " in err
    assert "ModelInfer" not in triton.calls


def test_conditions_leave_out_what_does_not_meet_them_and_say_what_is_missing(
    run, scene: Path, catalog_path: Path
) -> None:
    arguments = ["--where", "id!=rug-3", "--where", "category has Home", "--top", 6, "--json"]
    code, out, err = run(
        "rank", scene, "--catalog", catalog_path, "--where", "id!=rug-3", *arguments
    )
    assert code == 0
    ids = [json.loads(line)["id"] for line in out.splitlines()]
    assert ids == ["rug-0", "rug-1", "rug-2", "rug-4", "rug-5"]
    assert f"Home|Rugs for {scene}: only 5 of the 6 asked for" in err
    assert f"Garden|Chairs for {scene}: nothing fits" in err


@pytest.mark.parametrize(
    ("condition", "code", "message"),
    [
        ("price", 2, "is no condition: expected COLUMN"),
        ("price<5", 1, "no column 'price': It has 'id', 'category', 'name'"),
        ("name<5", 1, "none of them says a number: the first is 'The chair <0>'"),
    ],
)
def test_a_condition_that_cannot_be_met_says_why(
    run, scene: Path, catalog_path: Path, condition: str, code: int, message: str
) -> None:
    result = run("rank", scene, "--catalog", catalog_path, "--where", condition)
    assert result[0] == code
    assert message in " ".join(result[2].replace("│", " ").split())


def test_a_group_is_shown_once_and_what_it_stands_for_is_counted(
    run, scene: Path, tmp_path: Path
) -> None:
    products = pa.table(
        {
            "id": ["a", "b", "c"],
            "category": [CATEGORIES[0]] * 3,
            "image": ["x.jpg"] * 3,
            "model": ["one", "one", "two"],
        }
    )
    path = tmp_path / "c.arrow"
    embeddings = np.stack([axis(3), axis(0), axis(9)])
    write_catalog(path, products, embeddings, model_id=MODEL_ID, categories=CATEGORIES)
    arguments = ["rank", scene, "--catalog", path, "--group-by", "model"]
    lines = [line.split() for line in run(*arguments)[1].splitlines() if line.strip()]
    assert [line[1] for line in lines if line[0].isdigit()] == ["a", "c"]
    assert [line[-1] for line in lines if line[0] == "1"] == ["+1"]
    page = tmp_path / "page.html"
    code, out, err = run(*arguments, "--json", "--html", page)
    assert (code, json.loads(out.splitlines()[0])["folded"]) == (0, ["b"])
    assert "only 2 of the 10 asked for" in err
    assert '<span title="b">stands for 1 more</span>' in page.read_text()


def test_rank_prints_the_compatibility_of_a_calibrated_model(
    run, triton: FakeTriton, scene: Path, catalog_path: Path
) -> None:
    assert "compatibility" not in run("rank", scene, "--catalog", catalog_path)[1]
    triton.calibration_text = CALIBRATION
    code, out, _ = run("rank", scene, "--catalog", catalog_path, "--category", "rugs")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert ["#", "id", "name", "compatibility", "distance", "global", "local"] in lines
    assert ["1", "rug-3", "The", "rug", "<3>", "0.900", "1.0000", "0.0000", "2.0000"] in lines
    out = run("rank", scene, "--catalog", catalog_path, "--json")[1]
    assert json.loads(out.splitlines()[0])["compatibility"] == 0.9


def test_a_minimum_leaves_out_what_fits_less(
    run, triton: FakeTriton, scene: Path, catalog_path: Path
) -> None:
    triton.calibration_text = CALIBRATION
    arguments = ["rank", scene, "--catalog", catalog_path, "--min-compatibility", "0.4"]
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    kept = [json.loads(line)["id"] for line in out.splitlines()]
    assert kept == ["rug-3", "rug-0", "rug-1", "chair-3"]


def test_a_category_where_nothing_fits_says_so(
    run, triton: FakeTriton, scene: Path, catalog_path: Path
) -> None:
    triton.calibration_text = CALIBRATION
    arguments = ["rank", scene, "--catalog", catalog_path, "--min-compatibility", "1"]
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert out.split("\n\n") == [
        "Home|Rugs for room.png: nothing fits",
        "Garden|Chairs for room.png: nothing fits",
        "",
    ]
    code, out, err = run(*arguments, "--json")
    assert (code, out) == (0, "")
    assert [line.split(" for ")[0] for line in err.splitlines()] == ["Home|Rugs", "Garden|Chairs"]
    assert err.count("nothing fits") == 2


def test_a_minimum_of_an_uncalibrated_model_is_one_line(
    run, scene: Path, catalog_path: Path
) -> None:
    result = run("rank", scene, "--catalog", catalog_path, "--min-compatibility", "0.5")
    assert_one_line_error(result, "completelook-build calibrate")
    assert result[1] == ""


def test_categories_are_ranked_in_the_order_asked_for(run, scene: Path, catalog_path: Path) -> None:
    arguments = ["--category", "Chairs", "--category", "Rugs", "--top", "1", "--json"]
    out = run("rank", scene, "--catalog", catalog_path, *arguments)[1]
    assert [json.loads(line)["category"] for line in out.splitlines()] == [
        "Garden|Chairs",
        "Home|Rugs",
    ]


def test_explain_writes_pictures_and_leaves_stdout_alone(
    run, scene: Path, catalog_path: Path, tmp_path: Path
) -> None:
    plain = run("rank", scene, "--catalog", catalog_path)
    code, out, err = run("rank", scene, "--catalog", catalog_path, "--explain", tmp_path / "maps")
    assert (code, out) == plain[:2]
    assert "wrote explain.json and 8 pictures" in err
    for name in ("room--Home-Rugs.png", "room--Home-Rugs--3-rug-1.png"):
        with Image.open(tmp_path / "maps" / name) as overlay:
            assert overlay.size == (64, 40)


# Rugs attend to regions 0 and 1, half and half, which products 0 and 1 suit.
@pytest.mark.parametrize(
    ("arguments", "first", "local_distance"),
    [
        ([], "rug-0", 1.0),
        (["--ignore", "0,0,0.0714285714,0.2"], "rug-1", 0.0),
        (["--focus", "0,0,0.0714285714,0.2", "--focus", "0.5,0.5,0.6,0.6"], "rug-0", 0.0),
    ],
    ids=["the whole photo", "a region ignored", "that region alone"],
)
def test_parts_of_a_photo_are_left_out_or_looked_at_alone(
    run, catalog_path: Path, tmp_path: Path, arguments, first: str, local_distance: float
) -> None:
    picture(9).save(tmp_path / "nine.png")
    for command in ("rank", "look"):
        names = ["--category", "rugs"]
        line = [command, tmp_path / "nine.png", "--catalog", catalog_path, "--json", *names]
        code, out, err = run(*line, *arguments)
        assert (code, err) == (0, "")
        found = json.loads(out.splitlines()[0])
        match = found["matches"][0] if command == "look" else found
        assert match["id"] == first
        assert match["local_distance"] == pytest.approx(local_distance, abs=1e-6)


def test_answers_are_replayed_from_their_receipts(
    run, triton: FakeTriton, scene: Path, catalog_path: Path, tmp_path: Path
) -> None:
    picture(4).save(tmp_path / "other.png")
    receipts = tmp_path / "receipts.jsonl"
    arguments = ["--catalog", catalog_path, "--ignore", "0,0,0.1,0.1", "--where", "id!=rug-1"]
    photos = [scene, tmp_path / "other.png"]
    printed = run("rank", *photos, *arguments, "--json", "--receipts", receipts)[1]
    asked = dict(triton.calls)

    code, out, err = run("replay", receipts, "--json")

    assert (code, out) == (0, printed)
    assert err == "".join(f"{photo}: the same answer, bit for bit\n" for photo in photos)
    assert run("replay", receipts)[1] == run("rank", *photos, *arguments)[1]
    photos[1].unlink()
    code, out, err = run("replay", receipts, "--json")
    assert (code, out) == (0, printed)
    assert f"{photos[1]}: the picture: image {photos[1]}: no such file" in err
    code, out, err = run("replay", receipts, "--scene", scene)
    assert (code, out) == (2, "")
    assert "holds 2 receipts: --scene is the photo of one" in err
    moved = catalog_path.rename(tmp_path / "moved.arrow")
    code, out, err = run("replay", receipts)
    assert (code, out) == (1, "")
    assert f"{scene}: the catalog: {catalog_path}: no such catalog" in err
    assert run("replay", receipts, "--catalog", moved, "--json")[:2] == (0, printed)
    assert triton.calls["ModelInfer"] == asked["ModelInfer"] + 2  # of the second `rank`


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "JSON"])
def test_looks_are_replayed_from_their_receipt(
    run, scene: Path, catalog_path: Path, tmp_path: Path, form
) -> None:
    receipt = tmp_path / "receipt.jsonl"
    printed = run("look", scene, "--catalog", catalog_path, "--receipts", receipt, *form)[1]
    assert run("replay", receipt, *form)[:2] == (0, printed)
    assert printed


def test_an_answer_that_is_another_one_now_is_told_and_not_printed(
    run, scene: Path, catalog_path: Path, tmp_path: Path
) -> None:
    receipts = tmp_path / "receipts.jsonl"
    run("rank", scene, "--catalog", catalog_path, "--receipts", receipts)
    Catalog.open(catalog_path).delete(["rug-3"])
    code, out, err = run("replay", receipts)
    assert (code, out) == (1, "")
    assert f"{scene}: the catalog: {catalog_path} has changed since\n" in err
    assert f"{scene}: the answer: Home|Rugs: place 1 was rug-3 at 1.0, is rug-0 at 1.5\n" in err
    assert err.endswith("the answer: and 1 more differences\n")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}", b"[]\n"])
def test_a_file_that_holds_no_receipts_is_one_line(run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    assert_one_line_error(run("replay", tmp_path / "r"), "no receipt")


@pytest.mark.parametrize("box", ["0,0,2,1", "a,b,c,d", "0,0,1", "0,0,1,1"])
def test_a_box_that_makes_no_sense_is_wrong_usage(run, scene, catalog_path, triton, box) -> None:
    code, out, err = run("rank", scene, "--catalog", catalog_path, "--ignore", box)
    assert (code, out) == (2, "")
    assert box in err
    assert not triton.calls


def test_html_writes_a_page_and_leaves_stdout_alone(
    run, scene: Path, catalog_path: Path, tmp_path: Path
) -> None:
    plain = run("rank", scene, "--catalog", catalog_path, "--json")
    page = tmp_path / "page.html"
    code, out, err = run("rank", scene, "--catalog", catalog_path, "--json", "--html", page)
    assert (code, out, err) == (0, plain[1], f"wrote {page}\n")
    assert page.read_text().startswith("<!doctype html>")


def test_index_writes_a_catalog_that_rank_reads(run, table: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "new.arrow"
    code, out, err = run("index", table, "--catalog", catalog)
    assert (code, out) == (0, "")
    assert "3/3 images" in err
    assert "3 products" in err
    assert Catalog.open(catalog).model_id == MODEL_ID
    out = run("rank", tmp_path / "2.png", "--catalog", catalog, "--json")[1]
    assert json.loads(out.splitlines()[0])["id"] == "r2"


def test_products_are_added_to_a_catalog_and_removed(run, table: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "new.arrow"
    run("index", table, "--catalog", catalog)
    more = tmp_path / "more.csv"
    more.write_text("id,image,category\nr9,0.png,Home|Rugs\n")
    assert run("index", "--add", more, "--catalog", catalog)[0] == 0
    assert len(Catalog.open(catalog)) == 4
    ids = tmp_path / "ids.txt"
    ids.write_text("r9\nnone\n\n")
    code, _, err = run("index", "--catalog", catalog, "--remove", "r1", "--remove", f"@{ids}")
    assert code == 3
    assert "2 products, 2 removed" in err
    assert "1 of the 3 ids were not in it" in err


@pytest.mark.parametrize(
    "arguments", [[], ["more.csv", "--remove", "r1"], ["--remove", "r1", "--check"]]
)
def test_index_takes_products_or_what_to_remove(run, tmp_path: Path, arguments) -> None:
    code, _, err = run("index", "--catalog", tmp_path / "new.arrow", *arguments)
    assert code == 2
    assert "give PRODUCTS, or else --remove ID alone" in err


def test_index_exits_with_3_when_it_skipped_a_picture(run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"not a picture")
    code, out, err = run("index", table, "--catalog", tmp_path / "new.arrow")
    assert (code, out) == (3, "")
    assert "skipped 1, see" in err
    assert "r1" in (tmp_path / "new.arrow.failures.csv").read_text()


def test_index_check_tells_everything_and_embeds_nothing(run, table, tmp_path, triton) -> None:
    table.write_text(
        table.read_text() + "x1,1.png,Boats\nr2,0.png,Home|Rugs\nx3,none.png,Home|Rugs\n"
    )
    code, out, err = run("index", table, "--catalog", tmp_path / "new.arrow", "--check")
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "4 products, 3 of a category that the model knows",
        "read as UTF-8, columns separated by commas",
        "1 product is of 'Boats', which the model does not know",
        "`completelook categories --map PRODUCTS` drafts a file for --category-map",
        "skipped: row 6, 'r2': the id stands in row 4 already, with another image",
        "skipped: row 7, 'x3': no such file",
    ]
    assert not (tmp_path / "new.arrow").exists()
    assert triton.calls["ModelInfer"] == 0


def test_a_drafted_map_of_categories_goes_into_index(run, table, tmp_path) -> None:
    table.write_text("id,image,category\na,0.png,Floor > Round rugs\nb,1.png,Zzz\n")
    code, drafted, _ = run("categories", "--map", table)
    assert (code, drafted.splitlines()[1:]) == (
        0,
        ["Floor > Round rugs,Home|Rugs,1,0.62,words", "Zzz,,1,0.00,nothing"],
    )
    mended = tmp_path / "map.csv"
    mended.write_text(drafted.replace("Zzz,,", "Zzz,Rugs,"))
    path = tmp_path / "new.arrow"
    assert run("index", table, "--catalog", path, "--category-map", mended)[0] == 0
    assert Catalog.open(path).category_counts == {"Home|Rugs": 2}


def test_a_map_that_names_an_unknown_category_is_one_line(run, table, tmp_path) -> None:
    wrong = tmp_path / "map.csv"
    wrong.write_text("shop category,model category\nBoats,Ships\n")
    result = run("index", table, "--catalog", tmp_path / "new.arrow", "--category-map", wrong)
    assert_one_line_error(result, "map.csv, row 2: unknown category 'Ships'")


@pytest.mark.parametrize("text", ["image", "=foto", "image="])
def test_a_column_that_is_not_named_is_wrong_usage(run, table, tmp_path, text) -> None:
    result = run("index", table, "--catalog", tmp_path / "new.arrow", "--column", text)
    assert result[0] == 2
    assert "OURS=THEIRS" in result[2]


@pytest.mark.parametrize("known", [True, False], ids=["one category known", "none known"])
def test_index_says_which_categories_the_model_does_not_know(run, table, tmp_path, known) -> None:
    tables = table.read_text().splitlines()
    unknown = ["x1,1.png,Boats", "x2,2.png,Boats"]
    table.write_text("\n".join([tables[0], *unknown, *([tables[1]] if known else [])]))
    code, _, err = run("index", table, "--catalog", tmp_path / "new.arrow")
    assert code == 0
    assert "2 products are of 'Boats', which the model does not know" in err
    assert ("knows none of these categories" in err) == (not known)


def test_index_may_stop_at_the_first_failure(run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"not a picture")
    code, _, err = run("index", table, "--catalog", tmp_path / "new.arrow", "--on-error", "fail")
    assert code == 1
    assert "error: " in err
    assert not (tmp_path / "new.arrow").exists()


def test_doctor_prints_a_line_per_check(run, tmp_path: Path, triton: FakeTriton) -> None:
    code, out, _ = run("doctor", "--model-repository", tmp_path)
    assert code == 0
    assert all(line.startswith("ok  ") for line in out.splitlines())
    triton.product_model_id = 7
    code, out, _ = run("doctor", "--model-repository", tmp_path)
    assert code == 1
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("FAIL")] == [
        "FAIL  model id"
    ]


@pytest.mark.parametrize(("options", "http_port"), [([], None), (["--http"], 8000)])
def test_serve_passes_on_what_follows_the_dashes(run, monkeypatch, options, http_port) -> None:
    seen = {}
    monkeypatch.setattr(
        server,
        "serve_until_stopped",
        lambda repository, **options: seen.update(options, at=repository),
    )
    assert (
        run("serve", "--grpc-port", 9001, *options, "--", "--log-verbose=1", "--http-port=5")[0]
        == 0
    )
    assert seen == {
        "at": Path("model_repository"),
        "grpc_port": 9001,
        "http_port": http_port,
        "metrics_port": 8002,
        "arguments": ["--log-verbose=1", "--http-port=5"],
    }


def broken_pictures(folder: Path) -> dict[str, Path]:
    picture(1, (400, 300)).save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "note.txt").write_text("hello")
    return {
        "a missing scene": folder / "gone.jpg",
        "a scene that is no picture": folder / "note.txt",
        "a truncated scene": folder / "cut.jpg",
    }


@pytest.mark.parametrize(
    "which", ["a missing scene", "a scene that is no picture", "a truncated scene"]
)
def test_a_bad_scene_is_one_line_that_names_it(
    run, which: str, tmp_path: Path, catalog_path: Path
) -> None:
    scene = broken_pictures(tmp_path)[which]
    assert_one_line_error(run("rank", scene, "--catalog", catalog_path), scene.name)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        pytest.param(["--category", "Sofas"], "Sofas", id="unknown category"),
        pytest.param(["--category", "Lamps"], "ambiguous", id="ambiguous category"),
        pytest.param(["--category", "Home|Lamps"], "Home|Lamps", id="category without products"),
        pytest.param(["--server", NOWHERE], "completelook serve", id="server down"),
        pytest.param(["--catalog", "gone.arrow"], "gone.arrow", id="missing catalog"),
        pytest.param(["--catalog", __file__], "test_cli.py", id="no catalog"),
        pytest.param(["--html", "/proc/nowhere/x.html"], "/proc/nowhere", id="page not writable"),
    ],
)
def test_a_bad_argument_of_rank_is_one_line(
    run, arguments: list[str], names: str, scene: Path, catalog_path: Path
) -> None:
    assert_one_line_error(run("rank", scene, "--catalog", catalog_path, *arguments), names)


def test_a_catalog_of_another_model_is_one_line(run, scene: Path, tmp_path: Path) -> None:
    other = make_catalog(tmp_path / "other.arrow", model_id=0xABC)
    result = run("rank", scene, "--catalog", other)
    assert_one_line_error(result, "0000000000000abc")
    assert "completelook index" in result[2]


@pytest.mark.parametrize(
    ("code", "details", "names"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", "overloaded"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "within 30 s"),
        (grpc.StatusCode.NOT_FOUND, "unknown model", "completelook-build export"),
        (grpc.StatusCode.INTERNAL, "Stub process\n'b_0' is not healthy.", "restart the server"),
    ],
    ids=["overloaded", "too late", "no model", "dead stub"],
)
def test_a_failing_server_is_one_line(
    run, triton: FakeTriton, scene: Path, catalog_path: Path, code, details: str, names: str
) -> None:
    triton.fail("ModelInfer", code, details)
    assert_one_line_error(run("rank", scene, "--catalog", catalog_path), names)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        pytest.param("id,image,category\n", "products.csv", id="empty table"),
        pytest.param("id,image\na,0.png\n", "category", id="missing column"),
        pytest.param("id,foto,category\na,0.png,R\n", "--column image=foto", id="near miss"),
    ],
)
def test_a_bad_table_is_one_line_and_leaves_the_catalog_alone(
    run, table: Path, catalog_path: Path, content: str, names: str
) -> None:
    before = catalog_path.read_bytes()
    table.write_text(content)
    assert_one_line_error(run("index", table, "--catalog", catalog_path), names)
    assert catalog_path.read_bytes() == before


def test_indexing_without_a_server_leaves_the_catalog_alone(
    run, table: Path, catalog_path: Path
) -> None:
    before = catalog_path.read_bytes()
    result = run("index", table, "--catalog", catalog_path, "--server", NOWHERE)
    assert_one_line_error(result, "completelook serve")
    assert catalog_path.read_bytes() == before


def assert_one_line_error(result: tuple[int, str, str], names: str) -> None:
    code, _, err = result
    assert code == 1
    # A progress bar may stand above it.
    assert err.splitlines()[-1].startswith("error: ")
    assert names in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["rank", "x.jpg"], id="no catalog"),
        pytest.param(["rank", "--catalog", "c"], id="no scene"),
        pytest.param(["rank", "x.jpg", "--catalog", "c", "--top", "0"], id="no products"),
        pytest.param(["rank", "x", "--catalog", "c", "--min-compatibility", "1.5"], id="over 1"),
        pytest.param(["rank", "x", "--catalog", "c", "--min-compatibility", "nan"], id="NaN"),
        pytest.param(["rank", "x", "--catalog", "c", "--min-compatibility", "-1"], id="under 0"),
        pytest.param(["index", "x", "--catalog", "c", "--on-error", "cry"], id="unknown choice"),
        pytest.param(["fly"], id="unknown command"),
        pytest.param(["categories", "--what"], id="unknown option"),
    ],
)
def test_wrong_usage_exits_with_2(run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err


def test_an_address_without_a_port_is_wrong_usage(run) -> None:
    code, out, err = run("categories", "--server", "localhost")
    assert (code, out) == (2, "")
    assert err.startswith("error: 'localhost'")
    assert "HOST:PORT" in err


def test_the_version_is_one_line(run) -> None:
    assert run("--version") == (0, f"completelook {version('completelook')}\n", "")


def test_a_scene_of_nan_is_an_error_and_not_a_scene_that_nothing_fits(
    run, triton: FakeTriton, scene: Path, catalog_path: Path
) -> None:
    triton.noise, triton.calibration_text = float("nan"), CALIBRATION
    options = ["--catalog", catalog_path, "--min-compatibility", 0.2, "--json"]
    code, out, err = run("rank", scene, *options)
    assert (code, out) == (1, "")
    assert "embed_scene" in err
    assert "SCENE_EMBEDDING" in err
    assert "not finite" in err


def test_an_interrupt_exits_with_130(run, monkeypatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("completelook.clients.client.CompleteLook.__init__", interrupt)
    code, _, err = run("categories")
    assert code == 130
    assert "Traceback" not in err


def test_a_bug_is_not_dressed_up_as_a_users_error(run, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("completelook.clients.client.CompleteLook.__init__", fail)
    with pytest.raises(ZeroDivisionError):
        run("categories")


def test_one_broken_scene_of_several_is_told_and_the_page_shows_the_others(
    run, scene, catalog_path, tmp_path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    page = tmp_path / "page.html"
    code, out, err = run(
        "rank", scene, broken, scene, "--catalog", catalog_path, "--json", "--html", page
    )
    assert code == 3
    assert {json.loads(line)["scene"] for line in out.splitlines()} == {str(scene)}
    assert err.count("skipped: ") == 1
    assert "broken.jpg: is not a picture" in err
    assert page.read_text().count("room.png") >= 2


def test_one_broken_scene_of_several_can_be_an_error(run, scene, catalog_path, tmp_path) -> None:
    result = run(
        "rank", scene, tmp_path / "no.jpg", "--catalog", catalog_path, "--on-error", "fail"
    )
    assert_one_line_error((result[0], "", result[2]), "no.jpg: no such file")


def test_scenes_none_of_which_can_be_read_are_an_error(run, catalog_path, tmp_path) -> None:
    code, out, err = run("rank", tmp_path / "a.jpg", tmp_path / "b.jpg", "--catalog", catalog_path)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == f"error: image {tmp_path / 'a.jpg'}: no such file"


def test_a_reader_that_has_seen_enough_is_no_error(triton, scene, catalog_path) -> None:
    command = f"{sys.executable} -c 'from completelook.cli import main; main()' rank"
    scenes = " ".join([str(scene)] * 40)
    shell = f"set -o pipefail; {command} {scenes} --catalog {catalog_path} --json | head -1"
    environment = {**os.environ, "COMPLETELOOK_SERVER": triton.address}
    run = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, env=environment, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert len(run.stdout.splitlines()) == 1


@pytest.fixture
def priced_catalog(tmp_path: Path) -> Path:
    """Two rugs and two chairs; the rug of the scene's red value 3 is the dear one."""
    products = pa.table(
        {
            "id": ["r-near", "r-far", "c-near", "c-far"],
            "category": [CATEGORIES[0]] * 2 + [CATEGORIES[3]] * 2,
            "image": ["x.jpg"] * 4,
            "name": ["A rug", "Another rug", "A chair", "Another chair"],
            "price": ["100.00 EUR", "20.00 EUR", "30.00 EUR", "10.00 EUR"],
        }
    )
    path = tmp_path / "priced.arrow"
    embeddings = np.stack([axis(3), axis(9), axis(3), axis(6)])
    write_catalog(path, products, embeddings, model_id=MODEL_ID, categories=CATEGORIES)
    return path


def test_look_prints_the_best_looks_and_what_more_would_buy(
    run, scene: Path, priced_catalog: Path
) -> None:
    code, out, err = run("look", scene, "--catalog", priced_catalog, "--budget", 120)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert ["The", "best", "look", "for", "room.png"] in lines
    assert "110.00 EUR together; score" in out
    assert "none is better" in out
    assert ["Rugs", "r-near", "A", "rug", "1.0000", "1"] in lines
    assert ["Chairs", "c-far", "Another", "chair", "1.5000", "2"] in lines
    last = "A budget of 140 EUR buys Chairs c-near instead of c-far: 130.00 EUR together; score"
    assert last in out.splitlines()[-1]
    assert (
        "buys nothing better" in run("look", scene, "--catalog", priced_catalog, "--budget", 130)[1]
    )


def test_look_json_is_a_line_a_look(run, scene: Path, priced_catalog: Path, tmp_path: Path) -> None:
    page = tmp_path / "look.html"
    code, out, _ = run(
        *("look", scene, "--catalog", priced_catalog, "--slots", "Rugs,Chairs", "--budget", 50),
        *("--more", 100, "--json", "--html", page),
    )
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["kind"], line["place"]) for line in lines] == [
        ("look", 1),
        ("look", 2),
        ("with_more", 3),
    ]
    ids = [[match["id"] for match in line["matches"]] for line in lines]
    assert ids == [["r-far", "c-near"], ["r-far", "c-far"], ["r-near", "c-near"]]
    assert (lines[0]["price"], lines[0]["currency"], lines[0]["gap"]) == (50.0, "EUR", 0.0)
    text = page.read_text()
    assert "<b>Another rug</b>" in text
    assert "<h3>With a budget of 150</h3>" in text
    assert "<b>50.00 EUR</b> together" in " ".join(text.split())


def test_a_look_beyond_the_budget_is_one_line(run, scene: Path, priced_catalog: Path) -> None:
    result = run("look", scene, "--catalog", priced_catalog, "--budget", 25)
    assert_one_line_error(result, "budget 25: the cheapest look of 2 products costs 30.00")


def test_web_says_where_it_is_and_ends_well_at_ctrl_c(catalog_path: Path) -> None:
    command = "from completelook.cli import main; main()"
    arguments = ["web", "--catalog", str(catalog_path), "--server", NOWHERE, "--port", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", command, *arguments], stderr=subprocess.PIPE, text=True
    ) as web:
        address = web.stderr.readline().removeprefix("ready at ").strip()
        assert httpx.get(f"{address}/healthz", trust_env=False).json() == {"status": "alive"}
        web.send_signal(signal.SIGINT)
        assert web.wait(timeout=20) == 0
        assert web.stderr.read() == ""


def test_web_refuses_what_cannot_be_served(run, catalog_path: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    for content in ("", "two words\n"):
        token.write_text(content)
        code, _, err = run("web", "--catalog", catalog_path, "--token-file", token)
        assert code == 2
        assert "expected one word, the token" in " ".join(err.split())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run("web", "--catalog", catalog_path, "--port", port)
    assert code == 2
    assert err.startswith(f"error: cannot listen on 127.0.0.1, port {port}: ")
    assert run("web", "--catalog", tmp_path / "none.arrow")[0] == 1
