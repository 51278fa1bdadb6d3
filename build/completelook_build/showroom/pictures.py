"""The pictures of a showroom: furnished rooms, and products alone on white as a shop has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from completelook_build.data import Box
from completelook_build.showroom.anchors import ANCHORS
from completelook_build.showroom.clutter import draw_clutter
from completelook_build.showroom.layout import Placement, place_anchors, place_products, with_margin
from completelook_build.showroom.product import PRODUCT_KINDS, Product
from completelook_build.showroom.room import cast_shadows, cast_sunlight, draw_room, light_room
from completelook_build.showroom.rule import Color
from completelook_build.showroom.sketch import Sketch, ramp, stamp

_WHITE = (255, 255, 255)
_SHADOW_RGB = (60, 58, 56)


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


def draw_photo(product: Product, rng: Generator) -> Image.Image:
    """The product on white, of varied size, place and light."""
    kind = PRODUCT_KINDS[product.category]
    side_px = int(rng.integers(280, 361))
    width, aspect = rng.uniform(0.78, 0.94), rng.uniform(*kind.aspect)
    height = min(0.94, width / aspect)
    left, top = (1 - width) * rng.uniform(0.35, 0.65), (1 - height) * rng.uniform(0.35, 0.6)
    box = Box(left, top, left + width, top + height)
    image = Image.new("RGB", (side_px, side_px), _WHITE)
    if kind.strip == "floor" and not kind.lies_flat:
        _cast_photo_shadow(image, box)

    def draw(sketch: Sketch) -> None:
        product.draw(sketch)
        _light_photo(sketch, rng)

    stamp(image, box, draw)
    return image


def _cast_photo_shadow(image: Image.Image, box: Box) -> None:
    mask = Image.new("L", image.size)
    foot = Box(box.left, box.bottom - 0.07, box.right, min(1.0, box.bottom + 0.03))
    ImageDraw.Draw(mask).ellipse(foot.pixels(*image.size), 120)
    image.paste(_SHADOW_RGB, mask=mask.filter(ImageFilter.GaussianBlur(image.width / 40)))


def _light_photo(sketch: Sketch, rng: Generator) -> None:
    """Studio light from some side, a little stronger or weaker."""
    strength, slope = rng.uniform(0.92, 1.0), rng.uniform(-0.08, 0.08)
    sketch.multiply(strength * ramp(1.0 - max(slope, 0), 1.0 + min(slope, 0), across=True))
