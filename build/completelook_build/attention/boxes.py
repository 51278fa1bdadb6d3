"""The attention on the boxes of all products in a scene: in an outfit they stand in for the person.

Shapes: V views; a map is [14, 14] and sums to 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from completelook.contract import IMAGE_SIZE, REGION_GRID

from completelook_build.data import Box
from completelook_build.evaluation import Array, Estimate, with_interval

_SIDE = IMAGE_SIZE // REGION_GRID  # pixels of a region


@dataclass(frozen=True)
class BoxFigures:
    """How much of the maps lies on the boxes, over the views that show one; NaN where none does."""

    area: Estimate  # the boxes' share of the crop, overlaps counted once
    attention: Estimate
    saliency: Estimate
    attention_ratio: Estimate  # mean mass / mean area: above 1, the boxes are looked at more
    saliency_ratio: Estimate
    beyond_saliency: Estimate  # mean mass of the attention - that of the saliency


def box_figures(
    boxes: Sequence[Sequence[Box]],
    attention: Array,
    saliency: Array,
    mean: Callable[[Array], Array],
    scenes: int,
) -> BoxFigures:
    """The figures of views with some boxes each, maps [V, 14, 14].

    `mean` averages values [V] that are numbers, over the views and over each resample, [1 + R].
    """
    covered = np.stack([coverage(own) for own in boxes])  # [V, 14, 14]
    areas = covered.mean(axis=(1, 2))  # [V]
    areas[areas == 0] = np.nan
    looked, stands_out = (
        np.where(np.isnan(areas), np.nan, (maps * covered).sum(axis=(1, 2)))
        for maps in (attention, saliency)
    )  # [V]
    means = (
        mean(areas),
        mean(looked),
        mean(stands_out),
        mean(looked) / mean(areas),
        mean(stands_out) / mean(areas),
        mean(looked - stands_out),
    )
    return BoxFigures(*(with_interval(each, scenes) for each in means))


def coverage(boxes: Sequence[Box]) -> Array:
    """How much of each region lies in any of the boxes, [14, 14], to a pixel of what is seen."""
    inside = np.zeros((IMAGE_SIZE, IMAGE_SIZE))
    for box in boxes:
        left, top, right, bottom = box.pixels(IMAGE_SIZE, IMAGE_SIZE)
        inside[top:bottom, left:right] = 1.0
    regions: Array = inside.reshape(REGION_GRID, _SIDE, REGION_GRID, _SIDE).mean(axis=(1, 3))
    return regions
