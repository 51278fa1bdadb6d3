"""A furnished room, drawn: what the model sees as a scene."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from numpy.random import Generator
from PIL import Image

from completelook_build.data import Box
from completelook_build.showroom.anchors import ANCHORS
from completelook_build.showroom.clutter import draw_clutter
from completelook_build.showroom.layout import Placement, place_anchors, place_products, with_margin
from completelook_build.showroom.light import cast_shadows, cast_sunlight, light_room
from completelook_build.showroom.product import PRODUCT_KINDS, Product
from completelook_build.showroom.room import draw_room
from completelook_build.showroom.rule import Color
from completelook_build.showroom.sketch import Sketch, stamp


@dataclass(frozen=True)
class Scene:
    """A picture of a room, and where its anchors and products are."""

    image: Image.Image
    placement: Placement


def draw_scene(anchors: Mapping[str, Color], products: Sequence[Product], rng: Generator) -> Scene:
    """Draw a room with these anchors and products; all else about it is left to chance."""
    width_px = int(rng.integers(480, 609))
    height_px = int(width_px * rng.uniform(0.78, 0.98))
    anchor_boxes = place_anchors(rng)
    product_boxes = place_products(products, rng)
    room = Sketch(width_px, height_px, background=(255, 255, 255))
    draw_room(room, anchor_boxes, rng)
    image = room.finished()
    cast_sunlight(image, anchor_boxes, rng)
    cast_shadows(image, anchor_boxes, _standing(products, product_boxes))
    for name, color in anchors.items():
        stamp(image, anchor_boxes[name], partial(ANCHORS[name], color=color, rng=rng))
    draw_clutter(image, anchor_boxes, product_boxes, rng)
    for product, box in zip(products, product_boxes, strict=True):
        stamp(image, box, product.draw_in_room)
    placement = Placement(anchor_boxes, tuple(with_margin(box) for box in product_boxes))
    return Scene(light_room(image, rng), placement)


def _standing(products: Sequence[Product], boxes: Sequence[Box]) -> list[Box]:
    """The boxes of what stands on the floor and throws a shadow there."""
    return [
        box
        for product, box in zip(products, boxes, strict=True)
        if PRODUCT_KINDS[product.category].strip == "floor"
        and not PRODUCT_KINDS[product.category].lies_flat
    ]
