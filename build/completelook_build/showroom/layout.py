"""Where things stand in a room.

Anchors stay between a ceiling strip and a floor strip, and products stay inside the strips:
whatever product is cropped out, the largest crop keeps every anchor whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from numpy.random import Generator

from completelook_build.data import Box
from completelook_build.showroom.product import PRODUCT_KINDS, Product

WALL_BOTTOM = 0.69

# Ranges: of the widths of what stands side by side, and of tops and bottoms.
_ANCHOR_WIDTHS = {
    "curtain": (0.155, 0.172),
    "armchair": (0.21, 0.225),
    "sofa": (0.36, 0.385),
    "cabinet": (0.155, 0.17),
}
_ANCHOR_HEIGHTS = {
    "curtain": ((0.172, 0.185), (0.695, 0.72)),
    "armchair": ((0.36, 0.385), (0.768, 0.78)),
    "sofa": ((0.50, 0.525), (0.76, 0.775)),
    "cabinet": ((0.172, 0.20), (0.715, 0.735)),
}

# A box must leave the crop above or below it larger than those to its sides.
_SIDE_REACH = 0.26
# Air around a product: a JPEG smears its color over blocks of 8 pixels, and the crop must hold
# none of it. These are 8 pixels of the smallest room, 480 wide and 374 high.
_MARGIN_X, _MARGIN_Y = 0.017, 0.022


@dataclass(frozen=True)
class Placement:
    """Where a room's anchors (by name) and its products (in their order) are."""

    anchors: Mapping[str, Box]
    products: tuple[Box, ...]


def place_anchors(rng: Generator) -> dict[str, Box]:
    """The boxes of the five anchors: every room puts them elsewhere, none over another."""
    nook = ["curtain", "armchair"] if rng.random() < 0.5 else ["armchair", "curtain"]
    units = [nook, ["sofa"], ["cabinet"]]
    columns = [name for index in rng.permutation(3) for name in units[index]]
    widths = [rng.uniform(*_ANCHOR_WIDTHS[name]) for name in columns]
    gaps = _share_out(1.0 - sum(widths), len(columns) + 1, rng)
    boxes, left = {}, 0.0
    for name, width, gap in zip(columns, widths, gaps, strict=False):
        left += gap
        tops, bottoms = _ANCHOR_HEIGHTS[name]
        boxes[name] = Box(left, rng.uniform(*tops), left + width, rng.uniform(*bottoms))
        left += width
    boxes["brick wall"] = _above_sofa(boxes["sofa"], rng)
    return boxes


def place_products(products: Sequence[Product], rng: Generator) -> list[Box]:
    """The boxes of the products, each in its category's strip, side by side."""
    boxes: dict[str, Box] = {}
    for strip in ("ceiling", "floor"):
        inside = [p for p in products if PRODUCT_KINDS[p.category].strip == strip]
        order = [inside[index] for index in rng.permutation(len(inside))]
        widths = [rng.uniform(*PRODUCT_KINDS[product.category].width) for product in order]
        lefts = _side_by_side(widths, rng)
        for product, left, width in zip(order, lefts, widths, strict=True):
            top, bottom = _height_in_strip(product.category, rng)
            boxes[product.id] = Box(left, top, left + width, bottom)
    return [boxes[product.id] for product in products]


def with_margin(box: Box) -> Box:
    """The box to record for a product: with a little air around it."""
    return Box(
        max(0.0, box.left - _MARGIN_X),
        max(0.0, box.top - _MARGIN_Y),
        min(1.0, box.right + _MARGIN_X),
        min(1.0, box.bottom + _MARGIN_Y),
    )


def _above_sofa(sofa: Box, rng: Generator) -> Box:
    width = rng.uniform(0.30, 0.35)
    left = rng.uniform(sofa.left, sofa.right - width)
    return Box(left, rng.uniform(0.172, 0.19), left + width, rng.uniform(0.455, 0.475))


def _height_in_strip(category: str, rng: Generator) -> tuple[float, float]:
    """Top and bottom of a product of a category."""
    if category.endswith("Lamps"):
        return 0.0, rng.uniform(0.135, 0.147)
    if category.endswith("Mirrors"):
        return rng.uniform(0.015, 0.025), rng.uniform(0.135, 0.147)
    bottom = rng.uniform(0.976, 0.985)
    height = rng.uniform(0.125, 0.15) if category.endswith("Rugs") else rng.uniform(0.155, 0.165)
    return bottom - height, bottom


def _side_by_side(widths: Sequence[float], rng: Generator) -> list[float]:
    """Left sides of things in a row that leave the crop above or below the largest of the four."""
    if not widths:
        return []
    slack = 1.0 - sum(widths)
    first = max(0.02, _SIDE_REACH - widths[0])
    last = max(0.02, _SIDE_REACH - widths[-1])
    gaps = _share_out(slack - first - last, len(widths) + 1, rng)
    lefts, left = [], first
    for gap, width in zip(gaps, widths, strict=False):
        left += gap
        lefts.append(left)
        left += width
    return lefts


def _share_out(amount: float, parts: int, rng: Generator) -> list[float]:
    """An amount cut at random into parts, none of them nearly nothing."""
    shares = rng.dirichlet([2.0] * parts) * 0.6 + 0.4 / parts
    return [float(amount * share) for share in shares]
