"""The crop: what is left of a scene never shows its product."""

import pytest
from completelook_build.crop import (
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
def test_the_largest_candidate_is_kept(box):
    crop = crop_out(box, minimum_kept_area=0.0)
    assert crop.box.area == max(candidate.box.area for candidate in candidate_crops(box))


@given(boxes, st.floats(0.0, 1.0))
def test_a_crop_below_the_threshold_is_dropped(box, threshold):
    largest = max(crop.box.area for crop in candidate_crops(box))
    assert (crop_out(box, threshold) is None) == (largest < threshold)


def test_without_a_box_the_scene_stays_whole():
    assert crop_out(None).box == WHOLE_SCENE


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
