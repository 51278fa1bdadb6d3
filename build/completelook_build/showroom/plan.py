"""What a showroom holds before anything is drawn: products, rooms, and who belongs to whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from completelook_build.data import SPLITS
from completelook_build.showroom.product import PRODUCT_KINDS, Product
from completelook_build.showroom.rule import (
    ANCHOR_OF_CATEGORY,
    CATEGORIES,
    COMPLEMENT_DEGREES,
    HUE_TOLERANCE_DEGREES,
    TONES,
    Color,
    opposite,
)

# Of train, validation and test, in this order.
SPLIT_SHARES = (0.6, 0.2, 0.2)
# Rooms with one, two and three products.
_CHANCE_OF_PRODUCTS = (0.05, 0.15, 0.80)
# Most fits are closer than the rule asks for, so that few products fit a room by accident.
_HUE_SPREAD_DEGREES = 9.0


@dataclass(frozen=True)
class PlannedProduct:
    """A product and the split whose rooms it may stand in."""

    product: Product
    split: str


@dataclass(frozen=True)
class PlannedScene:
    """A room: its split, the colors of its anchors by name, and its products."""

    id: str
    split: str
    anchors: Mapping[str, Color]
    products: tuple[Product, ...]


def plan_products(per_category: int, seed: int, rng: Generator) -> list[PlannedProduct]:
    """The products of every category, those of each split spread evenly over hues and tones."""
    planned = []
    for category_index, category in enumerate(CATEGORIES):
        kind = PRODUCT_KINDS[category]
        splits = _split_up(per_category)
        colors = [color for split in SPLITS for color in _spread_colors(splits.count(split), rng)]
        for rank, index in enumerate(rng.permutation(per_category)):
            product = Product(
                id=f"{kind.id_prefix}-{rank + 1:03d}",
                category=category,
                color=colors[index],
                style=kind.styles[rng.integers(len(kind.styles))],
                seed=(seed, category_index, rank),
            )
            planned.append(PlannedProduct(product, splits[index]))
    return planned


def plan_scenes(
    count: int, products: Sequence[PlannedProduct], rng: Generator
) -> list[PlannedScene]:
    """Rooms whose anchors suit their products; the anchors nobody looks at have any color."""
    of_split = {
        split: [planned.product for planned in products if planned.split == split]
        for split in SPLITS
    }
    splits = _split_up(count)
    return [
        _plan_scene(f"scene-{rank + 1:04d}", splits[index], of_split[splits[index]], rng)
        for rank, index in enumerate(rng.permutation(count))
    ]


def _plan_scene(id_: str, split: str, products: Sequence[Product], rng: Generator) -> PlannedScene:
    number = 1 + int(rng.choice(len(_CHANCE_OF_PRODUCTS), p=_CHANCE_OF_PRODUCTS))
    chosen = []
    for index in rng.choice(len(CATEGORIES), number, replace=False):
        candidates = [product for product in products if product.category == CATEGORIES[index]]
        chosen.append(candidates[rng.integers(len(candidates))])
    anchors = {name: _any_color(rng) for name in ANCHOR_OF_CATEGORY.values()}
    for product in chosen:
        anchors[ANCHOR_OF_CATEGORY[product.category]] = _color_that_suits(product.color, rng)
    return PlannedScene(id_, split, anchors, tuple(chosen))


def _split_up(count: int) -> list[str]:
    """The split of each of `count` things, in the order of the splits."""
    ends = np.rint(np.cumsum(SPLIT_SHARES) * count).astype(int)
    sizes = np.diff(ends, prepend=0)
    return [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]


def _spread_colors(count: int, rng: Generator) -> list[Color]:
    """Colors of alternating tone whose hues lie all around the color wheel."""
    turn = rng.uniform(0.0, 360.0)
    hues = (turn + 360.0 * (np.arange(count) + rng.random(count)) / count) % 360.0
    return [Color(round(float(hue), 1), TONES[index % 2]) for index, hue in enumerate(hues)]


def _any_color(rng: Generator) -> Color:
    return Color(round(rng.uniform(0.0, 360.0), 1), TONES[rng.integers(2)])


def _color_that_suits(product: Color, rng: Generator) -> Color:
    """A color of an anchor that the product fits."""
    off_degrees = np.clip(
        rng.normal(0.0, _HUE_SPREAD_DEGREES), -HUE_TOLERANCE_DEGREES, HUE_TOLERANCE_DEGREES
    )
    hue_degrees = (product.hue_degrees + COMPLEMENT_DEGREES + 0.99 * off_degrees) % 360.0
    return Color(round(float(hue_degrees), 1), opposite(product.tone))
