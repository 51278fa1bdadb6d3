"""Reading pairs: what is kept, what is dropped and why, and splits by scene."""

import json
from collections import Counter

import pytest
from completelook_build.data import SPLITS, Dataset, split_of
from completelook_build.data.splits import read_splits, split_scenes
from completelook_build.errors import DataError
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("scene1", "scene2", "rug1", "rug2", "lamp1"):
        Image.new("RGB", (8, 8)).save(images / f"{name}.jpg")
    categories = {"rug1": "Rugs", "rug2": "Rugs", "lamp1": "Lamps", "ghost": "Rugs", "odd1": []}
    (tmp_path / "categories.json").write_text(json.dumps(categories))
    return tmp_path


def write_pairs(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines))


def read(folder, **options):
    return Dataset.of(folder).read(**options)


BAD_BOX = "box empty or outside 0 to 1 (sides must be shares of the picture)"
GOOD = {"scene": "scene1", "product": "rug1", "bbox": [0.2, 0.7, 0.8, 1.0]}
ALSO_GOOD = {"scene": "scene2", "product": "rug2", "bbox": None}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param("not json", "malformed line", id="not JSON"),
        pytest.param({"scene": "scene1"}, "malformed line", id="no product"),
        pytest.param({**GOOD, "product": "sofa9"}, "product without a category", id="category"),
        pytest.param({**GOOD, "scene": "gone"}, "scene without a picture", id="scene picture"),
        pytest.param({**GOOD, "product": "ghost"}, "product without a picture", id="picture"),
        pytest.param({**GOOD, "bbox": [0, 0, 2, 1]}, BAD_BOX, id="outside"),
        pytest.param({**GOOD, "bbox": [0.5, 0.5, 0.5, 0.9]}, BAD_BOX, id="empty box"),
        pytest.param({**GOOD, "bbox": "all"}, BAD_BOX, id="not a box"),
        pytest.param({**GOOD, "bbox": [0, 0, 1]}, BAD_BOX, id="three sides"),
        pytest.param({**GOOD, "bbox": ["0", 0, 1, 1]}, BAD_BOX, id="text side"),
        pytest.param({**GOOD, "bbox": [False, 0, True, 0.1]}, BAD_BOX, id="bool side"),
        pytest.param(
            {**GOOD, "bbox": [float("nan"), 0, 1, 0.1]},
            BAD_BOX,
            id="NaN side",
        ),
        pytest.param(
            {**GOOD, "bbox": [0, 0, float("inf"), 0.1]},
            BAD_BOX,
            id="endless side",
        ),
        pytest.param({**GOOD, "bbox": [0.9, 0, 0.1, 0.1]}, BAD_BOX, id="sides swapped"),
        pytest.param({**GOOD, "bbox": {}}, BAD_BOX, id="box of another kind"),
        pytest.param([GOOD], "malformed line", id="a list"),
        pytest.param("[" * 100_000, "malformed line", id="endless nesting"),
        pytest.param({**GOOD, "scene": None}, "malformed line", id="null scene"),
        pytest.param({**GOOD, "product": ["rug1"]}, "malformed line", id="list product"),
        pytest.param({**GOOD, "product": " "}, "malformed line", id="blank product"),
        pytest.param({**GOOD, "scene": "\ud800"}, "malformed line", id="half a character"),
        pytest.param({**GOOD, "product": "odd1"}, "product without a category", id="odd category"),
        pytest.param(GOOD, "duplicate of an earlier pair", id="duplicate"),
        pytest.param(
            {**GOOD, "bbox": [0.1, 0.1, 0.9, 0.9]},
            "crop keeps too little of the scene",
            id="fills the scene",
        ),
        pytest.param(
            {**GOOD, "product": "lamp1"}, "category with a single product", id="lone product"
        ),
    ],
)
def test_a_bad_pair_is_counted_and_the_good_ones_are_kept(folder, bad, reason):
    write_pairs(folder, GOOD, bad, ALSO_GOOD)
    data = read(folder)
    assert [pair.product for pair in data.pairs] == ["rug1", "rug2"]
    assert data.dropped == {reason: 1}


def test_nothing_usable_is_an_error_that_names_the_reasons(folder):
    write_pairs(folder, "oops", {**GOOD, "scene": "gone"})
    with pytest.raises(DataError, match=r"1 x malformed line, 1 x scene without a picture"):
        read(folder)


@pytest.mark.parametrize("missing", ["pairs.jsonl", "categories.json"])
def test_a_missing_file_is_named(folder, missing):
    write_pairs(folder, GOOD, ALSO_GOOD)
    (folder / missing).unlink()
    with pytest.raises(DataError, match=missing):
        read(folder)


def test_without_cropping_every_scene_is_whole(folder):
    write_pairs(folder, GOOD, ALSO_GOOD)
    assert {pair.crop.side for pair in read(folder, crop=False).pairs} == {"whole"}


def test_scenes_are_split_by_their_hash_and_added_ones_move_none_to_another_split():
    before = split_scenes(f"scene{number}" for number in range(100))
    after = split_scenes(f"scene{number}" for number in range(200))
    assert all(before[name] < after[name] for name in SPLITS)
    assert sum(map(len, after.values())) == 200
    assert 0.7 < len(after["train"]) / 200 < 0.9


def test_a_scene_is_in_the_split_that_names_it_and_one_that_none_names_in_its_hashs():
    scenes = {"scene-0001", "scene-0005", "scene-0019"}  # train, validation, test by their hash
    splits = split_scenes(scenes, {"train": ["scene-0019", "gone"], "test": ["scene-0001"]})
    assert splits == {
        "train": {"scene-0019"},
        "validation": {"scene-0005"},
        "test": {"scene-0001"},
    }


def test_the_same_product_elsewhere_in_its_scene_is_no_duplicate(folder):
    write_pairs(folder, GOOD, {**GOOD, "bbox": [0.2, 0.0, 0.8, 0.2]}, ALSO_GOOD)
    assert len(read(folder).pairs) == 3


def test_ids_may_be_whole_numbers(folder):
    for name in ("7", "8"):
        (folder / "images/rug1.jpg").rename(folder / f"images/{name}.jpg")
        Image.new("RGB", (8, 8)).save(folder / "images/rug1.jpg")
    (folder / "categories.json").write_text(json.dumps({"7": "Rugs", "8": "Rugs"}))
    write_pairs(folder, {"scene": "scene1", "product": 7}, {"scene": "scene1", "product": 8})
    assert [pair.product for pair in read(folder).pairs] == ["7", "8"]


def test_a_line_ends_only_where_json_says_so(folder):
    (folder / "images/scene1.jpg").rename(folder / "images/scene\u2028.jpg")
    rows = [{**GOOD, "scene": "scene\u2028"}, ALSO_GOOD]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "pairs.jsonl").write_bytes(text.encode())
    data = read(folder)
    assert len(data.pairs) == 2
    assert not data.dropped


@pytest.mark.parametrize("content", ["[1]", "{", "[" * 100_000], ids=["list", "cut", "nested"])
def test_a_bad_category_map_is_one_error(folder, content):
    write_pairs(folder, GOOD, ALSO_GOOD)
    (folder / "categories.json").write_text(content)
    with pytest.raises(DataError, match=r"categories\.json"):
        read(folder)


@pytest.mark.parametrize("crop", [True, False])
def test_reading_writes_nothing(folder, crop):
    write_pairs(folder, GOOD, ALSO_GOOD)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    read(folder, crop=crop)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_two_files_of_pairs_in_one_folder_do_not_share_their_splits(folder):
    write_pairs(folder, GOOD, ALSO_GOOD)
    read(folder)
    (folder / "pairs.jsonl").rename(folder / "others.jsonl")
    parts = {"pairs": folder / "others.jsonl", "categories": folder / "categories.json"}
    parts |= {"images": folder / "images", "features": folder / "features"}
    splits = folder / "mine.json"
    splits.write_text(json.dumps({"train": [], "validation": [], "test": ["scene1", "scene2"]}))
    assert Dataset(**parts, splits=splits).read().splits["test"] == {"scene1", "scene2"}
    assert all(s in Dataset(**parts).read().splits[split_of(s)] for s in ("scene1", "scene2"))


def test_a_folders_splits_are_read_and_parts_elsewhere_take_their_place(folder):
    write_pairs(folder, GOOD, ALSO_GOOD)
    both = {"train": [], "validation": ["scene1"], "test": ["scene2"]}
    (folder / "splits.json").write_text(json.dumps(both))
    assert read(folder).splits["validation"] == {"scene1"}
    named = folder / "named.json"
    named.write_text(json.dumps({**both, "validation": [], "train": ["scene1"]}))
    assert Dataset.of(folder, splits=named).read().splits["train"] == {"scene1"}


def test_the_split_of_a_scene_is_the_same_everywhere():
    assert [split_of(f"scene-{number:04d}") for number in (1, 5, 19)] == [
        "train",
        "validation",
        "test",
    ]


def test_splits_are_80_10_10_by_scene():
    counts = Counter(split_of(f"scene {number}") for number in range(10_000))
    # Three standard deviations of a fair draw.
    assert counts["train"] == pytest.approx(8000, abs=120)
    assert counts["validation"] == pytest.approx(1000, abs=90)
    assert counts["test"] == pytest.approx(1000, abs=90)


@pytest.mark.parametrize(
    ("first", "second"), [("train", "validation"), ("train", "test"), ("validation", "test")]
)
def test_a_scene_in_two_splits_is_refused(tmp_path, first, second):
    path = tmp_path / "splits.json"
    path.write_text(
        json.dumps({name: ["b" if name in (first, second) else name] for name in SPLITS})
    )
    with pytest.raises(DataError, match=f"'b' is in both {first} and {second}"):
        read_splits(path)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"train": []}', '{"train": "ab", "validation": "c", "test": "d"}'],
    ids=["cut", "list", "a split absent", "texts"],
)
def test_bad_stored_splits_are_one_error(tmp_path, content):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(DataError, match=r"splits\.json: expected JSON lists of scenes"):
        read_splits(tmp_path / "splits.json")


def suffixed(folder, suffix):
    for path in list((folder / "images").glob("*.jpg")):
        Image.new("RGB", (8, 8)).save(path.with_suffix(suffix))
        path.unlink()


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".JPEG", ".png", ".PNG", ".webp"])
def test_pictures_are_found_whatever_their_suffix(folder, suffix):
    suffixed(folder, suffix)
    write_pairs(folder, GOOD, ALSO_GOOD)
    data = read(folder)
    assert len(data.pairs) == 2
    assert data.pictures["rug1"].name == f"rug1{suffix}"


def test_a_picture_of_another_suffix_is_named_by_it(folder):
    (folder / "images/scene1.jpg").rename(folder / "images/scene1.heic")
    write_pairs(folder, GOOD, ALSO_GOOD, {**ALSO_GOOD, "product": "rug1"})
    reason = "scene without a picture (.heic is not read; .jpg .jpeg .png .webp are)"
    assert read(folder).dropped == {reason: 1}


@pytest.mark.parametrize("file", ["pairs.jsonl", "categories.json"])
def test_a_byte_order_mark_drops_nothing(folder, file):
    write_pairs(folder, GOOD, ALSO_GOOD)
    (folder / file).write_bytes(b"\xef\xbb\xbf" + (folder / file).read_bytes())
    data = read(folder)
    assert len(data.pairs) == 2
    assert not data.dropped


@pytest.mark.parametrize("indent", [None, 1], ids=["one line", "many lines"])
def test_one_json_array_is_read_and_json_lines_are_named(folder, indent, capsys):
    (folder / "pairs.jsonl").write_text(json.dumps([GOOD, ALSO_GOOD], indent=indent))
    data = read(folder)
    assert len(data.pairs) == 2
    assert not data.dropped
    assert "expected JSON lines" in capsys.readouterr().err


def test_boxes_in_pixels_are_an_error_that_says_what_a_box_is(folder):
    write_pairs(folder, *({**pair, "bbox": [40, 30, 160, 120]} for pair in (GOOD, ALSO_GOOD)))
    with pytest.raises(DataError, match=r"2 x box .*sides must be shares of the picture"):
        read(folder)
