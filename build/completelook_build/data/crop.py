"""Cropping the product out of its scene, so that what is left can only complement it.

Paper section 3.1: four candidate crops around the product's box, none overlapping it; the largest
is kept, and the pair is dropped where that keeps too little of the scene.
"""

from typing import NamedTuple

MINIMUM_KEPT_AREA = 0.2
CROP_SIDES = ("above", "below", "left", "right")


class Box(NamedTuple):
    """A rectangle in a picture, each side as a fraction of the picture's width or height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """The share of the picture that the box covers."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box in whole pixels of a picture, at least one pixel wide and high."""
        left = min(round(self.left * width), width - 1)
        top = min(round(self.top * height), height - 1)
        right = max(round(self.right * width), left + 1)
        bottom = max(round(self.bottom * height), top + 1)
        return left, top, right, bottom


WHOLE_SCENE = Box(0.0, 0.0, 1.0, 1.0)


class Crop(NamedTuple):
    """What is left of a scene without its product, and on which side of the product it lies."""

    box: Box
    side: str


def candidate_crops(product: Box) -> tuple[Crop, ...]:
    """The four crops around a product's box, in the order of `CROP_SIDES`."""
    return (
        Crop(Box(0.0, 0.0, 1.0, product.top), "above"),
        Crop(Box(0.0, product.bottom, 1.0, 1.0), "below"),
        Crop(Box(0.0, 0.0, product.left, 1.0), "left"),
        Crop(Box(product.right, 0.0, 1.0, 1.0), "right"),
    )


def crop_out(product: Box | None, minimum_kept_area: float = MINIMUM_KEPT_AREA) -> Crop | None:
    """The largest crop of a scene that leaves its product out.

    Without a box the scene is kept whole. None where even the largest crop keeps less than
    `minimum_kept_area` of the scene.
    """
    if product is None:
        return Crop(WHOLE_SCENE, "whole")
    largest = max(candidate_crops(product), key=lambda crop: crop.box.area)
    return largest if largest.box.area >= minimum_kept_area else None
