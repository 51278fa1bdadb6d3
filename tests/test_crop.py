"""The crop: what is left of a scene never shows its product."""

import pytest
from completelook_build.data.crop import (
    MINIMUM_KEPT_AREA,
    WHOLE_SCENE,
    Box,
    candidate_crops,
    crop_out,
)
from hypothesis import given
from hypothesis import strategies as st

sides = st.floats(0.0, 1.0, allow_subnormal=False)
boxes = (
    st.tuples(sides, sides, sides, sides)
    .map(lambda s: Box(min(s[0], s[2]), min(s[1], s[3]), max(s[0], s[2]), max(s[1], s[3])))
    .filter(lambda box: box.left < box.right and box.top < box.bottom)
)


def overlap(first: Box, second: Box) -> float:
    width = min(first.right, second.right) - max(first.left, second.left)
    height = min(first.bottom, second.bottom) - max(first.top, second.top)
    return max(0.0, width) * max(0.0, height)


@given(boxes)
def test_no_candidate_overlaps_the_product(box):
    assert all(overlap(crop.box, box) == 0.0 for crop in candidate_crops(box))


@given(boxes)
def test_the_crop_never_overlaps_the_product_and_stays_in_the_scene(box):
    crop = crop_out(box, minimum_kept_area=0.0).box
    assert overlap(crop, box) == 0.0
    assert 0.0 <= crop.left <= crop.right <= 1.0
    assert 0.0 <= crop.top <= crop.bottom <= 1.0


@given(boxes, st.integers(5, 500), st.integers(5, 500))
def test_the_crop_shows_at_most_half_a_pixel_of_the_product(box, width, height):
    crop = crop_out(box)
    if crop is None:
        return
    left, top, right, bottom = crop.box.pixels(width, height)
    inside = {
        "above": bottom - box.top * height,
        "below": box.bottom * height - top,
        "left": right - box.left * width,
        "right": box.right * width - left,
    }
    assert inside[crop.side] <= 0.5 + 1e-9


@given(boxes)
def test_the_largest_of_the_four_is_kept(box):
    strips = {
        "above": box.top,
        "below": 1.0 - box.bottom,
        "left": box.left,
        "right": 1.0 - box.right,
    }
    crop = crop_out(box, minimum_kept_area=0.0)
    assert crop.box.area == strips[crop.side] == max(strips.values())


@given(boxes, st.floats(0.0, 1.0))
def test_a_crop_below_the_threshold_is_dropped(box, threshold):
    largest = max(box.top, 1.0 - box.bottom, box.left, 1.0 - box.right)
    crop = crop_out(box, threshold)
    assert (crop is None) == (largest < threshold)
    assert crop is None or crop.box.area >= threshold


@given(st.floats(0.0, 1.0))
def test_without_a_box_the_scene_stays_whole_whatever_the_threshold(threshold):
    assert crop_out(None, threshold) == (WHOLE_SCENE, "whole")


@pytest.mark.parametrize(
    ("box", "side"),
    [
        pytest.param(Box(0.3, 0.8, 0.7, 1.0), "above", id="low product"),
        pytest.param(Box(0.3, 0.0, 0.7, 0.2), "below", id="high product"),
        pytest.param(Box(0.8, 0.0, 1.0, 1.0), "left", id="product on the right"),
        pytest.param(Box(0.0, 0.0, 0.2, 1.0), "right", id="product on the left"),
    ],
)
def test_the_crop_lies_opposite_the_product(box, side):
    assert crop_out(box).side == side


def test_a_product_that_fills_the_scene_leaves_no_crop():
    assert crop_out(Box(0.1, 0.1, 0.9, 0.9)) is None
    assert MINIMUM_KEPT_AREA == 0.2


@given(boxes, st.integers(1, 500), st.integers(1, 500))
def test_pixels_are_inside_the_picture_and_never_empty(box, width, height):
    left, top, right, bottom = box.pixels(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
