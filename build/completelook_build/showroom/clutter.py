"""Neutral things that stand about: they vary the room and say nothing about what fits."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.random import Generator
from PIL import Image

from completelook_build.data import Box
from completelook_build.showroom.palette import neutral, oklch, shade, wood
from completelook_build.showroom.sketch import Sketch, ramp, stamp


def draw_clutter(
    image: Image.Image, anchors: Mapping[str, Box], products: Sequence[Box], rng: Generator
) -> None:
    """A cushion, something on the cabinet, plants and baskets where the floor is free."""
    if rng.random() < 0.6:
        stamp(image, _on_sofa(anchors["sofa"], rng), partial(_draw_cushion, rng=rng))
    _draw_on_cabinet(image, anchors["cabinet"], products, rng)
    things = (_draw_plant, _draw_books, _draw_basket, _draw_vase)
    for left, right in _free_spans(products):
        width = rng.uniform(0.09, 0.12)
        if right - left > width + 0.02 and rng.random() < 0.8:
            x = rng.uniform(left + 0.01, right - width - 0.01)
            box = Box(x, rng.uniform(0.80, 0.82), x + width, rng.uniform(0.95, 0.975))
            stamp(image, box, partial(things[rng.integers(len(things))], rng=rng))


def _free_spans(products: Sequence[Box]) -> list[tuple[float, float]]:
    """The parts of the floor strip without a product."""
    taken = sorted((box.left, box.right) for box in products if box.bottom > 0.5)
    lefts = [0.0, *(right for _, right in taken)]
    rights = [*(left for left, _ in taken), 1.0]
    return list(zip(lefts, rights, strict=True))


def _on_sofa(sofa: Box, rng: Generator) -> Box:
    side = (sofa.right - sofa.left) * 0.16
    left = rng.uniform(sofa.left + side, sofa.right - 2 * side)
    top = sofa.top + (sofa.bottom - sofa.top) * 0.26
    return Box(left, top, left + side, top + side * 1.1)


def _draw_on_cabinet(
    image: Image.Image, cabinet: Box, products: Sequence[Box], rng: Generator
) -> None:
    """A plant, books or a vase on top, unless a product hangs there."""
    in_the_way = any(
        box.bottom < 0.5 and box.left < cabinet.right and box.right > cabinet.left
        for box in products
    )
    if in_the_way or rng.random() < 0.2:
        return
    things = (_draw_plant, _draw_books, _draw_vase)
    width = rng.uniform(0.07, 0.10)
    left = rng.uniform(cabinet.left, cabinet.right - width)
    box = Box(left, cabinet.top - rng.uniform(0.09, 0.12), left + width, cabinet.top + 0.002)
    stamp(image, box, partial(things[rng.integers(len(things))], rng=rng))


def _draw_cushion(sketch: Sketch, rng: Generator) -> None:
    linen = neutral(rng.uniform(0.75, 0.96), rng.uniform(-0.3, 1.4))
    sketch.rectangle((0, 0, 1, 1), linen, 0.2)
    for x in (0.25, 0.5, 0.75):
        sketch.line([(x, 0.08), (x, 0.92)], shade(linen, 0.88), 0.02)
    sketch.multiply(ramp(1.0, 0.86))


def _draw_plant(sketch: Sketch, rng: Generator) -> None:
    """Dried leaves in a pot."""
    leaf = oklch(rng.uniform(0.5, 0.72), 0.025, rng.uniform(90, 130))
    for angle in np.linspace(-1.0, 1.0, int(rng.integers(5, 9))):
        tip = (0.5 + 0.48 * np.sin(angle), 0.55 - 0.55 * np.cos(angle))
        side = 0.07 * np.cos(angle)
        middle = ((0.5 + tip[0]) / 2, (0.6 + tip[1]) / 2)
        blade = [(0.5, 0.62), (middle[0] - side, middle[1]), tip, (middle[0] + side, middle[1])]
        sketch.polygon(blade, shade(leaf, rng.uniform(0.85, 1.1)))
    pot = neutral(rng.uniform(0.45, 0.95), rng.uniform(-0.2, 1.0))
    sketch.polygon([(0.24, 0.58), (0.76, 0.58), (0.67, 1.0), (0.33, 1.0)], pot)
    sketch.multiply(ramp(1.0, 0.8, across=True), (0.2, 0.58, 0.8, 1.0))


def _draw_books(sketch: Sketch, rng: Generator) -> None:
    """A stack of books."""
    for index in range(int(rng.integers(3, 6))):
        bottom = 1.0 - index * 0.13
        left, right = rng.uniform(0.0, 0.15), rng.uniform(0.85, 1.0)
        cover = neutral(rng.uniform(0.35, 0.95), rng.uniform(-0.5, 1.0))
        sketch.rectangle((left, bottom - 0.12, right, bottom), cover, 0.02)
        sketch.rectangle((left + 0.1, bottom - 0.07, left + 0.4, bottom - 0.05), shade(cover, 0.85))


def _draw_basket(sketch: Sketch, rng: Generator) -> None:
    """A woven basket."""
    straw = wood(rng)
    sketch.arc((0.2, 0.22, 0.8, 0.8), (180, 360), shade(straw, 0.8), 0.06)
    sketch.polygon([(0.02, 0.45), (0.98, 0.45), (0.86, 1.0), (0.14, 1.0)], straw)
    weave = 0.86 + 0.14 * (np.indices((10, 16)).sum(0) % 2)
    sketch.multiply(weave, (0.0, 0.45, 1.0, 1.0))


def _draw_vase(sketch: Sketch, rng: Generator) -> None:
    """A vase with pampas grass."""
    grass = oklch(rng.uniform(0.72, 0.86), 0.03, 80.0)
    for lean in np.linspace(-0.34, 0.34, int(rng.integers(3, 6))):
        tip = (0.5 + lean, 0.03 + abs(lean) * 0.3)
        sketch.line([(0.5, 0.6), tip], shade(grass, 0.8), 0.02)
        sketch.ellipse((tip[0] - 0.06, tip[1], tip[0] + 0.06, tip[1] + 0.32), grass)
    clay = neutral(rng.uniform(0.4, 0.95), rng.uniform(-0.2, 1.0))
    sketch.ellipse((0.2, 0.52, 0.8, 1.0), clay)
    sketch.rectangle((0.4, 0.45, 0.6, 0.6), clay)
    sketch.multiply(ramp(1.0, 0.8, across=True), (0.2, 0.45, 0.8, 1.0))
