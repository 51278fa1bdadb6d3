"""Reading pairs: what is kept, what is dropped and why, and splits by scene."""

import json
from collections import Counter

import pytest
from completelook_build.data.pairs import SPLITS, read_or_make_splits, read_pairs, split_of
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
    return read_pairs(
        folder / "pairs.jsonl", folder / "categories.json", folder / "images", **options
    )


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
        pytest.param({**GOOD, "bbox": [0, 0, 2, 1]}, "box empty or outside 0 to 1", id="outside"),
        pytest.param(
            {**GOOD, "bbox": [0.5, 0.5, 0.5, 0.9]}, "box empty or outside 0 to 1", id="empty box"
        ),
        pytest.param({**GOOD, "bbox": "all"}, "box empty or outside 0 to 1", id="not a box"),
        pytest.param({**GOOD, "bbox": [0, 0, 1]}, "box empty or outside 0 to 1", id="three sides"),
        pytest.param(
            {**GOOD, "bbox": ["0", 0, 1, 1]}, "box empty or outside 0 to 1", id="text side"
        ),
        pytest.param(
            {**GOOD, "bbox": [False, 0, True, 0.1]}, "box empty or outside 0 to 1", id="bool side"
        ),
        pytest.param(
            {**GOOD, "bbox": [float("nan"), 0, 1, 0.1]},
            "box empty or outside 0 to 1",
            id="NaN side",
        ),
        pytest.param(
            {**GOOD, "bbox": [0, 0, float("inf"), 0.1]},
            "box empty or outside 0 to 1",
            id="endless side",
        ),
        pytest.param(
            {**GOOD, "bbox": [0.9, 0, 0.1, 0.1]}, "box empty or outside 0 to 1", id="sides swapped"
        ),
        pytest.param({**GOOD, "bbox": {}}, "box empty or outside 0 to 1", id="box of another kind"),
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


def test_splits_are_stored_and_read_again(tmp_path):
    scenes = {f"scene{number}" for number in range(200)}
    path = tmp_path / "splits.json"
    made = read_or_make_splits(path, scenes)
    assert read_or_make_splits(path, scenes) == made
    assert set().union(*made.values()) == scenes
    assert sum(len(made[name]) for name in SPLITS) == len(scenes)
    assert 0.7 < len(made["train"]) / len(scenes) < 0.9


def test_added_scenes_move_no_scene_to_another_split(tmp_path):
    path = tmp_path / "splits.json"
    before = read_or_make_splits(path, {f"scene{number}" for number in range(50)})
    after = read_or_make_splits(path, {f"scene{number}" for number in range(100)})
    assert all(before[name] <= after[name] for name in SPLITS)
    assert split_of("scene99") in SPLITS


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


def test_splits_are_stored_beside_the_pairs(folder):
    write_pairs(folder, GOOD, ALSO_GOOD)
    splits = read(folder).splits
    assert json.loads((folder / "splits.json").read_text()) == {
        name: sorted(splits[name]) for name in SPLITS
    }


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
        read_or_make_splits(path, {"a", "b", "c"})


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"train": []}', '{"train": "ab", "validation": "c", "test": "d"}'],
    ids=["cut", "list", "a split absent", "texts"],
)
def test_bad_stored_splits_are_one_error(tmp_path, content):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(DataError, match=r"splits\.json: expected JSON lists of scenes"):
        read_or_make_splits(tmp_path / "splits.json", {"a"})
