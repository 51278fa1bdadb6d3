"""The showroom keeps its own rule: what fits, where things stand, and what a split may share."""

import csv
import json

import numpy as np
import pytest
from completelook_build.data.crop import Box, crop_out
from completelook_build.errors import DataError
from completelook_build.showroom import (
    ANCHOR_OF_CATEGORY,
    CATEGORIES,
    HUE_TOLERANCE_DEGREES,
    Color,
    fits,
    render_showroom,
)
from completelook_build.showroom import dataset as dataset_module
from completelook_build.showroom.palette import TONE_LIGHTNESS, paint
from completelook_build.showroom.pictures import draw_photo, draw_scene
from completelook_build.showroom.product import PRODUCT_KINDS, Product
from PIL import Image

SCENES, PRODUCTS = 10, 10
SMALL = {"scenes": SCENES, "products_per_category": PRODUCTS}


@pytest.fixture(scope="module")
def showroom(tmp_path_factory):
    out = tmp_path_factory.mktemp("showroom") / "rooms"
    render_showroom(out, **SMALL, seed=7)
    return out


def read_json(showroom, name):
    return json.loads((showroom / name).read_text(encoding="utf-8"))


def read_pairs(showroom):
    return [json.loads(line) for line in (showroom / "pairs.jsonl").read_text().splitlines()]


def read_products(showroom):
    with (showroom / "products.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def read_bytes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def fits_by_walking(anchor, product):
    """The rule, one degree at a time around the color wheel from the hue opposite the anchor's."""
    if {anchor.tone, product.tone} != {"light", "dark"}:
        return False
    for step in range(int(HUE_TOLERANCE_DEGREES) + 1):
        for sign in (-1, 1):
            if (anchor.hue_degrees + 180 + sign * step) % 360 == product.hue_degrees % 360:
                return True
    return False


def test_fits_is_the_rule_walked_around_the_wheel():
    colors = [Color(hue, tone) for hue in range(0, 360, 5) for tone in ("light", "dark")]
    for anchor in colors:
        for product in colors:
            assert fits(anchor, product) == fits_by_walking(anchor, product), (anchor, product)


def test_what_looks_the_same_never_fits():
    color = Color(200.0, "dark")
    assert not fits(color, color)


@pytest.mark.parametrize("hue_degrees", range(0, 360, 30))
def test_a_light_tone_is_clearly_lighter_than_a_dark_one(hue_degrees):
    light, dark = paint(Color(hue_degrees, "light")), paint(Color(hue_degrees, "dark"))
    assert np.mean(light) > np.mean(dark) + 60


def test_the_same_seed_gives_the_same_bytes_however_many_threads_draw(
    showroom, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    render_showroom(tmp_path / "again", **SMALL, seed=7)
    assert read_bytes(tmp_path / "again") == read_bytes(showroom)


def test_another_seed_gives_other_pictures(showroom, tmp_path):
    render_showroom(tmp_path / "other", **SMALL, seed=8)
    other, this = read_bytes(tmp_path / "other"), read_bytes(showroom)
    assert other.keys() == this.keys()
    images = [name for name in this if name.startswith("images/")]
    assert all(other[name] != this[name] for name in images)


def test_every_picture_is_there_and_opens(showroom):
    splits = read_json(showroom, "splits.json")
    scenes = [scene for names in splits.values() for scene in names]
    products = read_json(showroom, "categories.json")
    assert len(scenes) == SCENES
    assert len(products) == PRODUCTS * len(CATEGORIES)
    assert {path.stem for path in (showroom / "images").iterdir()} == {*scenes, *products}
    for path in (showroom / "images").iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.mode == "RGB"
            assert image.format == "JPEG"


def test_the_table_of_products_points_at_the_pictures(showroom):
    categories = read_json(showroom, "categories.json")
    products = read_products(showroom)
    assert {name: row["category"] for name, row in products.items()} == categories
    assert set(categories.values()) == set(CATEGORIES)
    for row in products.values():
        assert (showroom / row["image"]).is_file()
        assert 0 <= float(row["hue_degrees"]) < 360
        assert row["tone"] in TONE_LIGHTNESS


def test_every_pair_keeps_the_rule(showroom):
    products, rule = read_products(showroom), read_json(showroom, "rule.json")
    pairs = read_pairs(showroom)
    assert len(pairs) > SCENES
    for pair in pairs:
        row = products[pair["product"]]
        product = Color(float(row["hue_degrees"]), row["tone"])
        assert fits(Color(**rule[pair["scene"]][row["category"]]), product), pair


def test_no_split_shares_a_scene_or_a_product_with_another(showroom):
    splits, products = read_json(showroom, "splits.json"), read_products(showroom)
    assert {name: len(scenes) for name, scenes in splits.items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    split_of_scene = {scene: name for name, scenes in splits.items() for scene in scenes}
    assert len(split_of_scene) == SCENES
    for pair in read_pairs(showroom):
        assert products[pair["product"]]["split"] == split_of_scene[pair["scene"]]


def test_the_largest_crop_keeps_every_anchor_whole_and_large(showroom):
    anchors = read_json(showroom, "anchors.json")
    for pair in read_pairs(showroom):
        crop = crop_out(Box(*pair["bbox"])).box
        boxes = anchors[pair["scene"]]
        assert set(boxes) == set(CATEGORIES)
        for left, top, right, bottom in boxes.values():
            assert crop.left <= left < right <= crop.right
            assert crop.top <= top < bottom <= crop.bottom
            assert 0.07 < Box(left, top, right, bottom).area / crop.area < 0.15


def test_anchors_do_not_overlap(showroom):
    for boxes in read_json(showroom, "anchors.json").values():
        room = np.zeros((500, 500), int)
        for box in boxes.values():
            left, top, right, bottom = Box(*box).pixels(500, 500)
            room[top:bottom, left:right] += 1
        assert room.max() == 1


def a_product(category, style, hue_degrees=30.0):
    return Product(f"a {style}", category, Color(hue_degrees, "light"), style, (1, 2, 3))


ALL_STYLES = [
    pytest.param(category, style, id=style)
    for category, kind in PRODUCT_KINDS.items()
    for style in kind.styles
]


def stored(image, path):
    """The pixels of a picture once it is a JPEG file."""
    dataset_module._save(image, path)
    with Image.open(path) as opened:
        return np.asarray(opened).astype(int)


@pytest.mark.parametrize(("category", "style"), ALL_STYLES)
def test_a_product_in_a_room_fills_its_box_and_the_crop_holds_none_of_its_color(
    category, style, tmp_path
):
    anchors = {name: Color(0.0, "dark") for name in ANCHOR_OF_CATEGORY.values()}
    one, other = (
        draw_scene(anchors, [a_product(category, style, hue)], np.random.default_rng(5))
        for hue in (30.0, 210.0)
    )
    assert one.placement == other.placement
    (box,) = one.placement.products
    assert 0 <= box.left < box.right <= 1
    assert 0 <= box.top < box.bottom <= 1
    # Two rooms that differ in their product's hue alone differ inside its box alone.
    pixels = stored(one.image, tmp_path / "one.jpg") - stored(other.image, tmp_path / "other.jpg")
    difference = np.abs(pixels).max(2)  # [height, width]
    left, top, right, bottom = box.pixels(*one.image.size)
    assert (difference[top:bottom, left:right] > 10).mean() > 0.2
    difference[top:bottom, left:right] = 0
    assert difference.max() == 0


@pytest.mark.parametrize(("category", "style"), ALL_STYLES)
def test_a_product_photo_is_filled_with_the_product_on_white(category, style):
    photo = np.asarray(draw_photo(a_product(category, style), np.random.default_rng(0)))
    assert (photo[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    saturation = photo.max(2).astype(int) - photo.min(2)
    assert (saturation > 40).mean() > 0.2


def test_the_pairs_are_readable_as_training_reads_them(showroom):
    from completelook_build.data import Dataset

    data = Dataset.of(showroom).read()
    assert len(data.pairs) + sum(data.dropped.values()) == len(read_pairs(showroom))
    assert set(data.dropped) <= {"category with a single product"}


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(DataError, match="not an empty folder"):
        render_showroom(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "rooms").mkdir()
    render_showroom(tmp_path / "rooms", scenes=5, products_per_category=10)
    assert (tmp_path / "rooms" / "pairs.jsonl").is_file()


def test_a_stopped_rendering_leaves_no_showroom(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset_module, "_write_tables", stop)
    with pytest.raises(KeyboardInterrupt):
        render_showroom(tmp_path / "rooms", scenes=5, products_per_category=10)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_rendering_left_beside_is_no_hindrance(showroom, tmp_path):
    leftover = tmp_path / ".rooms.partial" / "images"
    leftover.mkdir(parents=True)
    (leftover / "scene-9999.jpg").write_bytes(b"half a picture")
    render_showroom(tmp_path / "rooms", **SMALL, seed=7)
    assert read_bytes(tmp_path / "rooms") == read_bytes(showroom)
    assert [path.name for path in tmp_path.iterdir()] == ["rooms"]


@pytest.mark.parametrize(
    ("too_few", "message"),
    [
        pytest.param({"scenes": 4}, "4 scenes: at least 5", id="scenes"),
        pytest.param({"products_per_category": 9}, "9 products per category: at least 10", id="p"),
    ],
)
def test_too_few_to_fill_the_splits_is_refused(tmp_path, too_few, message):
    with pytest.raises(DataError, match=message):
        render_showroom(tmp_path / "rooms", **too_few)
    assert list(tmp_path.iterdir()) == []
