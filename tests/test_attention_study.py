"""The attention against anchors: its measures, their averages, and the files of a study."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from completelook_build.attention.boxes import coverage
from completelook_build.attention.report import (
    STUDY_MODULES,
    as_json,
    as_markdown,
    method,
    print_study,
    study_model,
)
from completelook_build.attention.study import (
    AttentionStudy,
    View,
    figures,
    find_views,
    inside_crop,
    mass_inside,
    normalized_entropy,
    peak_inside,
    read_anchors,
)
from completelook_build.data import WHOLE_SCENE, Box, Crop, Dataset, read_boxes
from completelook_build.errors import DataError
from completelook_build.evaluation.metrics import scene_weights
from completelook_build.features import Picture
from completelook_build.report import is_stale
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from planted import plant_pairs

sides = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(
    lambda ends: abs(ends[0] - ends[1]) > 0.01
)


@st.composite
def boxes(draw):
    (left, right), (top, bottom) = sorted(draw(sides)), sorted(draw(sides))
    return Box(left, top, right, bottom)


def random_map(seed):
    values = np.random.default_rng(seed).random((14, 14)) ** 4
    return values / values.sum()


def peak_at(row, column):
    values = np.full((14, 14), 0.1)
    values[row, column] = 10.0
    return values / values.sum()


def slow_mass(values, box):
    mass = 0.0
    for row in range(14):
        for column in range(14):
            height = min(box.bottom, (row + 1) / 14) - max(box.top, row / 14)
            width = min(box.right, (column + 1) / 14) - max(box.left, column / 14)
            if height > 0 and width > 0:
                mass += values[row, column] * height * width * 196
    return mass


@given(box=boxes(), seed=st.integers(0, 20))
def test_mass_counts_a_cut_region_by_its_part_inside(box, seed):
    assert mass_inside(random_map(seed), box) == pytest.approx(slow_mass(random_map(seed), box))


@given(box=boxes())
def test_an_even_map_has_the_boxs_share_of_the_area(box):
    assert mass_inside(np.full((14, 14), 1 / 196), box) == pytest.approx(box.area)


def test_the_whole_picture_holds_all_mass():
    assert mass_inside(random_map(0), WHOLE_SCENE) == pytest.approx(1)


@pytest.mark.parametrize(
    ("row", "column", "inside"),
    [(2, 9, True), (0, 9, False), (2, 4, False), (5, 9, False), (2, 13, False)],
)
def test_the_peak_is_looked_for_in_the_box(row, column, inside):
    box = Box(8 / 14, 1 / 14, 12 / 14, 4 / 14)
    assert peak_inside(peak_at(row, column), box) == float(inside)


def test_entropy_runs_from_a_single_region_to_an_even_map():
    single = np.zeros((14, 14))
    single[3, 5] = 1.0
    assert normalized_entropy(single) == 0.0
    assert normalized_entropy(np.full((14, 14), 1 / 196)) == pytest.approx(1.0)
    half = np.zeros(196)
    half[:98] = 1 / 98
    assert normalized_entropy(half.reshape(14, 14)) == pytest.approx(math.log(98) / math.log(196))


@given(box=boxes(), crop=boxes())
def test_an_anchor_in_the_crop_is_where_it_was_in_the_scene(box, crop):
    moved = inside_crop(box, crop)
    left, right = max(box.left, crop.left), min(box.right, crop.right)
    top, bottom = max(box.top, crop.top), min(box.bottom, crop.bottom)
    if left >= right or top >= bottom:
        assert moved is None
    elif moved is not None:  # None where what is left is thinner than a float
        width, height = crop.right - crop.left, crop.bottom - crop.top
        assert crop.left + moved.left * width == pytest.approx(left)
        assert crop.left + moved.right * width == pytest.approx(right)
        assert crop.top + moved.top * height == pytest.approx(top)
        assert crop.top + moved.bottom * height == pytest.approx(bottom)


def views_of(anchors):
    """Two views of each scene."""
    return [
        View(f"s{index // 2}", 0, index, Picture(Path(f"s{index}.jpg")), anchor)
        for index, anchor in enumerate(anchors)
    ]


def test_figures_are_averages_over_the_views_that_have_an_anchor():
    anchors = [Box(0, 0, 0.3, 0.4), None, Box(0.5, 0.2, 1, 0.9), Box(0.1, 0.1, 0.2, 0.2)]
    attention = np.stack([random_map(seed) for seed in range(4)])
    saliency = np.stack([random_map(seed) for seed in range(4, 8)])
    found = figures(views_of(anchors), attention, saliency)
    for maps, own in ((attention, found.attention), (saliency, found.saliency)):
        pairs = [(m, box) for m, box in zip(maps, anchors, strict=True) if box is not None]
        masses = [slow_mass(m, box) for m, box in pairs]
        areas = [box.area for _, box in pairs]
        ratios = [mass / area for mass, area in zip(masses, areas, strict=True)]
        assert own.mass.value == pytest.approx(sum(masses) / 3)
        assert own.mass_ratio.value == pytest.approx(sum(masses) / sum(areas))
        assert own.mean_ratio.value == pytest.approx(sum(ratios) / 3)
        assert own.pointing.value == pytest.approx(sum(peak_inside(*p) for p in pairs) / 3)
        entropies = [normalized_entropy(values) for values in maps]
        assert own.entropy.value == pytest.approx(sum(entropies) / 4)
    assert (found.views, found.scenes, found.anchored) == (4, 2, 3)
    assert found.area_share.value == pytest.approx(sum(areas) / 3)


def test_the_interval_resamples_whole_scenes():
    random = np.random.default_rng(3)
    anchors = [Box(0, 0, *random.uniform(0.2, 0.9, size=2)) for _ in range(24)]
    maps = np.stack([random_map(seed) for seed in range(24)])
    ratio = figures(views_of(anchors), maps, maps).attention.mass_ratio
    masses = [slow_mass(*each) for each in zip(maps, anchors, strict=True)]
    resampled = []
    for counts in scene_weights(12, 1000, seed=0)[1:]:
        scenes = sorted(f"s{index}" for index in range(12))
        drawn = dict(zip(scenes, counts, strict=True))
        mass = area = 0.0
        for index, box in enumerate(anchors):
            mass += drawn[f"s{index // 2}"] * masses[index]
            area += drawn[f"s{index // 2}"] * box.area
        resampled.append(mass / area)
    assert (ratio.low, ratio.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    features = plant_pairs(tmp_path_factory.mktemp("planted"))
    return features.split("test", ("Lamps", "Rugs"))


def test_a_view_is_counted_once_and_a_lost_anchor_is_told_from_none(split):
    box = Box(0.1, 0.1, 0.5, 0.5)
    scenes = sorted({pair.scene for pair in split.pairs})
    anchors = {scene: {"Rugs": box} for scene in scenes[1:]}
    views, cut_away = find_views(split, ("Lamps", "Rugs"), anchors, {})
    keys = {(pair.scene, pair.category) for pair in split.pairs}
    assert len(split.pairs) > len(views) == len(keys)
    assert cut_away == 0
    for view in views:
        assert view.anchor == (box if view.category == 1 and view.scene != scenes[0] else None)


def test_an_anchor_that_the_crop_leaves_out_is_counted_once_a_view(split):
    right = Crop(Box(0.5, 0.0, 1.0, 1.0), "right")
    pairs = tuple(replace(pair, crop=right) for pair in split.pairs)
    boxes = {"Rugs": Box(0.1, 0.1, 0.5, 0.5), "Lamps": Box(0.4, 0.1, 0.6, 0.5)}
    anchors = {pair.scene: boxes for pair in pairs}
    views, cut_away = find_views(replace(split, pairs=pairs), ("Lamps", "Rugs"), anchors, {})
    assert cut_away == len({pair.scene for pair in pairs if pair.category == "Rugs"}) > 0
    for view in views:
        assert view.anchor == (None if view.category == 1 else pytest.approx((0, 0.1, 0.2, 0.5)))


def slow_coverage(boxes):
    """Pixel by pixel of the 224 x 224 that the model sees."""
    inside = [[0.0] * 14 for _ in range(14)]
    for y in range(224):
        for x in range(224):
            if any(
                round(b.left * 224) <= x < round(b.right * 224)
                and round(b.top * 224) <= y < round(b.bottom * 224)
                for b in boxes
            ):
                inside[y // 16][x // 16] += 1 / 256
    return np.array(inside)


def test_boxes_cover_what_lies_in_any_of_them_overlaps_once():
    boxes = [Box(0.1, 0.2, 0.5, 0.63), Box(0.3, 0.1, 0.7, 0.4), Box(0.9, 0.9, 1.0, 1.0)]
    assert coverage(boxes) == pytest.approx(slow_coverage(boxes))
    assert coverage([boxes[0], boxes[0]]) == pytest.approx(coverage(boxes[:1]))
    assert not coverage([]).any()


def test_figures_on_boxes_are_averages_over_the_views_that_show_one():
    boxes = [[Box(0, 0, 0.5, 0.5)], [], [Box(0.2, 0.2, 0.9, 0.4), Box(0.1, 0.1, 0.3, 0.8)], []]
    views = [replace(v, boxes=tuple(b)) for v, b in zip(views_of([None] * 4), boxes, strict=True)]
    attention = np.stack([random_map(seed) for seed in range(4)])
    saliency = np.stack([random_map(seed) for seed in range(4, 8)])
    found = figures(views, attention, saliency).boxes
    covered = [slow_coverage(boxes[index]) for index in (0, 2)]
    areas = [own.mean() for own in covered]
    looked, stands_out = (
        [float((maps[index] * own).sum()) for index, own in zip((0, 2), covered, strict=True)]
        for maps in (attention, saliency)
    )
    assert found.area.value == pytest.approx(sum(areas) / 2)
    assert found.attention.value == pytest.approx(sum(looked) / 2)
    assert found.saliency.value == pytest.approx(sum(stands_out) / 2)
    assert found.attention_ratio.value == pytest.approx(sum(looked) / sum(areas))
    assert found.saliency_ratio.value == pytest.approx(sum(stands_out) / sum(areas))
    assert found.beyond_saliency.value == pytest.approx((sum(looked) - sum(stands_out)) / 2)


def test_boxes_are_moved_into_the_crop_and_those_outside_are_left_out(split):
    right = Crop(Box(0.5, 0.0, 1.0, 1.0), "right")
    pairs = tuple(replace(pair, crop=right) for pair in split.pairs)
    boxes = {pair.scene: (Box(0.1, 0.1, 0.4, 0.5), Box(0.4, 0.1, 0.75, 0.5)) for pair in pairs}
    views, _ = find_views(replace(split, pairs=pairs), ("Lamps", "Rugs"), {}, boxes)
    for view in views:
        assert list(view.boxes) == [pytest.approx((0, 0.1, 0.5, 0.5))]


def test_the_boxes_of_a_scene_are_those_of_all_its_lines(tmp_path):
    lines = [
        {"scene": "s", "product": "p", "bbox": [0, 0, 0.5, 0.5]},
        {"scene": "s", "product": "unknown", "bbox": [0.01, 0, 1, 1]},
        {"scene": "s", "product": "q", "bbox": [0, 0, 0.5, 0.5]},
        {"scene": "t", "product": "p", "bbox": None},
        {"scene": "t", "product": "p", "bbox": [0, 0, 2, 1]},
        {"scene": "t"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert read_boxes(path) == {"s": (Box(0, 0, 0.5, 0.5), Box(0.01, 0, 1, 1))}


@pytest.mark.parametrize(
    ("on_boxes", "answer"),
    [
        pytest.param([1.0] * 10, "asks for? Yes.", id="on them"),
        pytest.param([0.0] * 10, "asks for? No, less.", id="beside them"),
        pytest.param([0.0, 1.0] * 5, "asks for? This data does not tell.", id="now and then"),
    ],
)
def test_without_anchors_the_study_answers_whether_the_boxes_are_looked_at(on_boxes, answer):
    """Boxes that are the left half, and in each scene the share of its maps that lies there."""
    left = np.zeros((14, 14))
    left[:, :7] = 1 / 98
    maps = np.stack([share * left + (1 - share) * left[:, ::-1] for share in on_boxes])
    views = [replace(view, boxes=(Box(0, 0, 0.5, 1),)) for view in views_of([None] * 20)]
    own = figures(views, np.repeat(maps, 2, axis=0), np.stack([random_map(0)] * 20))
    study = AttentionStudy(own, {"Shoes": own}, tuple(views), has_anchors=False, cut_away=0)
    assert answer in method(study)
    assert "| boxes, area |" in as_markdown(study)


def test_without_anchors_and_boxes_only_the_entropy_is_told():
    maps = np.stack([random_map(seed) for seed in range(4)])
    own = figures(views_of([None] * 4), maps, maps)
    study = AttentionStudy(own, {"Shoes": own}, (), has_anchors=False, cut_away=0)
    assert "neither anchors.json" in method(study)
    assert "ratio" not in as_markdown(study)


def test_a_category_whose_views_show_no_box_has_a_dash():
    views = [replace(views_of([None])[0], boxes=(Box(0, 0, 0.5, 1),)), views_of([None] * 3)[2]]
    maps = np.stack([random_map(seed) for seed in range(2)])
    with_box, without = (figures([v], maps[:1], maps[1:]) for v in views)
    rows = {"Shoes": with_box, "Bags": without}
    study = AttentionStudy(figures(views, maps, maps), rows, tuple(views), False, 0)
    assert "| Bags | 1 | - | - | - | - | - |" in as_markdown(study)


def test_data_without_anchors_is_no_error(tmp_path):
    assert read_anchors(tmp_path / "pairs.jsonl") is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="no map"),
        pytest.param('{"s": [0, 0, 1, 1]}', id="no categories"),
        pytest.param('{"s": {"Rugs": [0, 0, 1]}}', id="three sides"),
        pytest.param('{"s": {"Rugs": [0, 0, 1, 2]}}', id="outside"),
        pytest.param('{"s": {"Rugs": [0.5, 0, 0.5, 1]}}', id="empty"),
        pytest.param('{"s": {"Rugs": [NaN, 0, 1, 1]}}', id="NaN"),
    ],
)
def test_malformed_anchors_are_one_clear_error(text, tmp_path):
    (tmp_path / "anchors.json").write_text(text)
    with pytest.raises(DataError, match=r"anchors\.json: expected a JSON map"):
        read_anchors(tmp_path / "pairs.jsonl")


def studied(showroom, model, out):
    return study_model(model, Dataset.of(showroom), out, scenes=2)


@pytest.fixture(scope="module")
def study(small_showroom, small_showroom_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "new"
    return studied(small_showroom, small_showroom_model, out), out


def test_a_study_writes_figures_a_table_and_a_sheet(study):
    found, out = study
    assert {path.name for path in out.iterdir()} == {
        *("attention.json", "attention.md", "attention.png"),
    }
    written = json.loads((out / "attention.json").read_text())
    assert not is_stale(written, *STUDY_MODULES)
    del written["made_by"]
    assert written == json.loads(json.dumps(as_json(found), allow_nan=False))
    assert written["overall"]["attention"]["mass_ratio"]["value"] > 0
    assert written["overall"]["views"] == sum(
        own["views"] for own in written["categories"].values()
    )
    assert found.overall.anchored == found.overall.views
    with Image.open(out / "attention.png") as picture:
        # Two scenes; each has its photo, saliency and a map for every category of the test split.
        assert picture.width == 2 * 28 + (2 + len(found.by_category)) * 182 - 12


def test_the_table_has_a_row_for_each_category(study, capsys):
    found, out = study
    markdown = (out / "attention.md").read_text()
    assert markdown == as_markdown(found)
    table, _, method = markdown.partition("\n\n")
    rows = [line.replace(r"\|", "/").strip("|").split("|") for line in table.splitlines()]
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 2 + len(found.by_category) + 1
    assert "0 views whose anchor is cut away and 0 without an anchor" in method
    print_study(found)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert f"{found.overall.attention.mass_ratio.value:.3f}" in printed


def test_without_anchors_the_boxes_and_the_entropy_are_told(
    small_showroom, small_showroom_model, tmp_path, capsys
):
    showroom = tmp_path / "showroom"
    shutil.copytree(small_showroom, showroom)
    (showroom / "anchors.json").unlink()
    found = studied(showroom, small_showroom_model, tmp_path / "out")
    written = json.loads((tmp_path / "out/attention.json").read_text())
    assert written["overall"]["attention"]["mass_ratio"]["value"] is None
    assert 0 < written["overall"]["attention"]["entropy"]["value"] <= 1
    print_study(found)
    printed = capsys.readouterr().out
    assert f"{found.overall.boxes.attention_ratio.value:.3f}" in printed
    assert written["overall"]["boxes"]["area"]["value"] == found.overall.boxes.area.value
    assert "pointing" not in printed
    assert max(map(len, printed.splitlines())) <= 100
