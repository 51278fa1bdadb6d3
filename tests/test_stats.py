"""`stats`: the figures of a set of pairs, against counting by hand."""

import json

import pytest
from completelook_build.cli import app
from completelook_build.data import Dataset, describe, split_of
from completelook_build.data.stats import Counts
from PIL import Image

# A scene of each split by its hash, its product, and the side and area of the crop.
TRAIN, VALIDATION, TEST = "scene-0001", "scene-0005", "scene-0019"
PAIRS = [
    {"scene": TRAIN, "product": "rug1", "bbox": [0.2, 0.6, 0.8, 1.0]},  # above, 0.6
    {"scene": TRAIN, "product": "rug2", "bbox": [0.2, 0.8, 0.8, 1.0]},  # above, 0.8
    {"scene": VALIDATION, "product": "rug1", "bbox": [0.0, 0.0, 0.5, 1.0]},  # right, 0.5
    {"scene": TEST, "product": "lamp1", "bbox": None},
    {"scene": TEST, "product": "lamp2", "bbox": None},
    {"scene": TEST, "product": "gone"},
    {"scene": TEST, "product": "rug1", "bbox": [0, 0, 9, 9]},
    {"scene": TEST, "product": "rug1", "bbox": [9, 0, 9, 9]},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in (TRAIN, VALIDATION, TEST, "rug1", "rug2", "lamp1", "lamp2"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"images/{name}.jpg")
    categories = {"rug1": "Rugs", "rug2": "Rugs", "lamp1": "[red]Lamps", "lamp2": "[red]Lamps"}
    (tmp_path / "categories.json").write_text(json.dumps(categories))
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(pair) for pair in PAIRS))
    return tmp_path


@pytest.fixture
def description(folder):
    return describe(Dataset.of(folder).read())


def test_splits_are_counted_by_what_is_different(description):
    assert [split_of(scene) for scene in (TRAIN, VALIDATION, TEST)] == [*description.splits][:3]
    assert description.splits == {
        "train": Counts(scenes=1, products=2, pairs=2),
        "validation": Counts(scenes=1, products=1, pairs=1),
        "test": Counts(scenes=1, products=2, pairs=2),
        "all": Counts(scenes=3, products=4, pairs=5),
    }


def test_categories_are_counted_over_all_splits(description):
    assert description.categories == {
        "Rugs": Counts(scenes=2, products=2, pairs=3),
        "[red]Lamps": Counts(scenes=1, products=2, pairs=2),
    }


def test_crops_are_counted_by_side_with_the_area_they_keep(description):
    crops = description.crops
    counts = {side: (own.pairs, own.share) for side, own in crops.items()}
    assert counts == {"above": (2, 0.4), "right": (1, 0.2), "whole": (2, 0.4), "all": (5, 1.0)}
    assert [*crops["above"].kept_area.values()] == pytest.approx([0.6, 0.65, 0.7, 0.75, 0.8])
    assert [*crops["all"].kept_area.values()] == pytest.approx([0.5, 0.6, 0.8, 1.0, 1.0])


def test_dropped_pairs_are_counted_by_reason_most_frequent_first(description):
    assert [*description.dropped.items()] == [
        ("box empty or outside 0 to 1 (sides must be shares of the picture)", 2),
        ("product without a category", 1),
    ]


def test_the_command_prints_every_table_and_writes_the_same_figures(folder, description, capsys):
    figures = folder / "figures.json"
    options = ["--data", folder, "--json", figures]
    app(["stats", *map(str, options)], standalone_mode=False)
    assert json.loads(figures.read_text()) == description.as_json()
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in (
        ["all", "3", "4", "5"],
        ["[red]Lamps", "1", "2", "2"],
        ["above", "2", "40.0%", "60.0%", "65.0%", "70.0%", "75.0%", "80.0%"],
        ["product", "without", "a", "category", "1"],
    ):
        assert row in printed
