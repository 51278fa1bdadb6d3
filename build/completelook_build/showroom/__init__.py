"""A seeded showroom: rendered rooms and products whose compatibility is known.

`rule` holds what fits what, `plan` draws the lots, `pictures` draws them, `dataset`
writes them in the pair-file form.
"""

from completelook_build.showroom.dataset import render_showroom
from completelook_build.showroom.rule import (
    ANCHOR_OF_CATEGORY,
    CATEGORIES,
    HUE_TOLERANCE_DEGREES,
    Color,
    fits,
)

__all__ = [
    "ANCHOR_OF_CATEGORY",
    "CATEGORIES",
    "HUE_TOLERANCE_DEGREES",
    "Color",
    "fits",
    "render_showroom",
]
