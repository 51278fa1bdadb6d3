"""The five anchors of a room, each with a texture of its own."""

from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from completelook_build.showroom.palette import mix, neutral, paint, shade, wood
from completelook_build.showroom.rule import Color
from completelook_build.showroom.sketch import Sketch, ramp


class AnchorDrawer(Protocol):
    """Draws an anchor so that it fills the sketch."""

    def __call__(self, sketch: Sketch, color: Color, rng: Generator) -> None: ...


def draw_sofa(sketch: Sketch, color: Color, rng: Generator) -> None:
    """A sofa whose back and base are upholstered in vertical panels."""
    cloth = paint(color, rng.uniform(-0.02, 0.03))
    legs, panels, roundness = wood(rng), int(rng.integers(9, 13)), rng.uniform(0.05, 0.14)
    for left in (0.07, 0.90):
        sketch.polygon(
            [(left, 0.88), (left + 0.03, 0.88), (left + 0.02, 1), (left + 0.01, 1)], legs
        )
    back = (0.04, 0.0, 0.96, 0.72)
    sketch.rectangle(back, cloth, roundness)
    sketch.multiply(_channels(panels), back)
    base = (0.03, 0.70, 0.97, 0.93)
    sketch.rectangle(base, shade(cloth, 0.92), 0.05)
    sketch.multiply(_channels(panels), base)
    cushions = int(rng.integers(2, 4))
    for index in range(cushions):
        left = 0.10 + 0.80 * index / cushions
        seat = (left, 0.52, left + 0.80 / cushions, 0.75)
        sketch.rectangle(seat, shade(cloth, 1.07), 0.08)
        sketch.multiply(ramp(1.0, 0.97, 0.78), seat)
    for left, right in ((0.0, 0.115), (0.885, 1.0)):
        sketch.rectangle((left, 0.30, right, 0.93), shade(cloth, 1.03), 0.12)
        sketch.multiply(ramp(1.0, 0.9, 0.78), (left, 0.36, right, 0.94))


def draw_brick_wall(sketch: Sketch, color: Color, rng: Generator) -> None:
    """A panel of painted brick in running bond."""
    base = paint(color)
    joint = mix(base, neutral(0.93 if color.tone == "dark" else 0.30), 0.38)
    sketch.rectangle((0, 0, 1, 1), joint)
    rows = int(rng.integers(7, 10))
    columns = max(3, round(rows * sketch.aspect / rng.uniform(2.2, 2.8)))
    gap_y, gap_x = 0.13 / rows, 0.13 / rows / sketch.aspect
    for row in range(rows):
        for column in range(-1, columns):
            left = (column + (row % 2) / 2 + 0.25) / columns
            brick = (
                max(0.0, left + gap_x),
                (row + 0.03) / rows + gap_y / 2,
                min(1.0, left + 1 / columns),
                (row + 0.97) / rows - gap_y / 2,
            )
            if brick[2] - brick[0] > 0.01:
                sketch.rectangle(brick, paint(color, rng.uniform(-0.035, 0.035)), 0.006)
    sketch.multiply(ramp(1.0, 0.93))


def draw_curtain(sketch: Sketch, color: Color, rng: Generator) -> None:
    """A heavy curtain in deep vertical folds."""
    cloth = paint(color, rng.uniform(0.0, 0.04))
    folds, flare = rng.uniform(4.5, 7.0), rng.uniform(0.0, 0.05)
    across = np.linspace(0, 1, 81)
    hem = [(float(x), float(0.992 + 0.008 * np.sin(2 * np.pi * folds * x))) for x in across[::-1]]
    hem = [(min(1.0, x), min(1.0, y)) for x, y in hem]
    sketch.polygon([(flare, 0.0), (1 - flare, 0.0), *hem], cloth)
    sketch.multiply(_folds(folds, rng))
    sketch.rectangle((flare, 0.0, 1 - flare, 0.035), shade(cloth, 0.88))
    sketch.multiply(_folds(folds, rng), (0.0, 0.0, 1.0, 0.035))


def draw_cabinet(sketch: Sketch, color: Color, rng: Generator) -> None:
    """A tall cabinet of open shelves above two drawers."""
    body = paint(color, rng.uniform(-0.01, 0.03))
    inside, edge = shade(body, 0.80), shade(body, 1.10)
    feet = wood(rng)
    for left in (0.06, 0.84):
        sketch.rectangle((left, 0.95, left + 0.10, 1.0), feet)
    sketch.rectangle((0, 0, 1, 0.965), body, 0.03)
    shelves, top, bottom = int(rng.integers(4, 6)), 0.025, 0.72
    height = (bottom - top) / shelves
    for shelf in range(shelves):
        floor = top + (shelf + 1) * height
        niche = (0.08, top + shelf * height, 0.92, floor - 0.018)
        sketch.rectangle(niche, inside)
        sketch.multiply(ramp(0.72, 0.98, 1.0), niche)
        if rng.random() < 0.8:
            _fill_shelf(sketch, floor - 0.018, height, rng)
        sketch.rectangle((0.05, floor - 0.018, 0.95, floor + 0.004), edge)
    knob = neutral(0.9, 0.6)
    for drawer_top in (0.735, 0.85):
        drawer = (0.07, drawer_top, 0.93, drawer_top + 0.10)
        sketch.rectangle(drawer, shade(body, 1.04), 0.02)
        sketch.multiply(ramp(1.0, 0.9), drawer)
        sketch.rectangle((0.42, drawer_top + 0.042, 0.58, drawer_top + 0.056), knob, 0.02)


def draw_armchair(sketch: Sketch, color: Color, rng: Generator) -> None:
    """A high armchair, its back and base quilted in diamonds."""
    cloth = paint(color, rng.uniform(0.0, 0.04))
    legs, tufts, roundness = wood(rng), int(rng.integers(3, 5)), rng.uniform(0.12, 0.4)
    for left in (0.12, 0.82):
        sketch.polygon([(left, 0.9), (left + 0.07, 0.9), (left + 0.05, 1), (left + 0.02, 1)], legs)
    back = (0.08, 0.0, 0.92, 0.80)
    sketch.rectangle(back, cloth, roundness)
    sketch.multiply(_quilt(tufts, tufts + 1), back)
    base = (0.10, 0.70, 0.90, 0.93)
    sketch.rectangle(base, shade(cloth, 0.95), 0.05)
    sketch.multiply(_quilt(tufts, 1), base)
    seat = (0.14, 0.57, 0.86, 0.74)
    sketch.rectangle(seat, shade(cloth, 1.07), 0.09)
    sketch.multiply(ramp(1.0, 0.97, 0.76), seat)
    for left, right in ((0.0, 0.2), (0.8, 1.0)):
        sketch.rectangle((left, 0.40, right, 0.93), shade(cloth, 1.04), 0.14)
        sketch.multiply(_quilt(1, 3), (left, 0.46, right, 0.94))


ANCHORS: dict[str, AnchorDrawer] = {
    "cabinet": draw_cabinet,
    "brick wall": draw_brick_wall,
    "sofa": draw_sofa,
    "armchair": draw_armchair,
    "curtain": draw_curtain,
}


def _fill_shelf(sketch: Sketch, floor: float, height: float, rng: Generator) -> None:
    """Neutral books, or a vase, that leave most of the shelf's color in sight."""
    left = rng.uniform(0.14, 0.55)
    if rng.random() < 0.35:
        tall = height * rng.uniform(0.35, 0.6)
        clay = neutral(rng.uniform(0.55, 0.92), rng.uniform(0, 1))
        sketch.ellipse((left, floor - tall, left + 0.18, floor + 0.004), clay)
        sketch.rectangle((left + 0.06, floor - tall * 1.3, left + 0.12, floor - tall / 2), clay)
        return
    for _ in range(rng.integers(2, 6)):
        width, tall = rng.uniform(0.04, 0.075), height * rng.uniform(0.45, 0.72)
        cover = neutral(rng.uniform(0.35, 0.95), rng.uniform(-0.5, 1))
        sketch.rectangle((left, floor - tall, left + width - 0.008, floor), cover)
        left += width


def _channels(count: int) -> NDArray[np.float64]:
    """Upright padded panels: bright in the middle, a dark seam between two."""
    across = np.linspace(0, count, count * 16)
    bulge = np.abs(np.sin(np.pi * across)) ** 0.5
    factors: NDArray[np.float64] = (0.62 + 0.38 * bulge)[None, :]  # [1, columns]
    return factors


def _folds(count: float, rng: Generator) -> NDArray[np.float64]:
    """Soft irregular folds that hang down."""
    across = np.linspace(0, 1, 160)
    phase = 2 * np.pi * count * across + 0.6 * np.sin(2 * np.pi * (across + rng.random()))
    wave = 0.5 + 0.5 * np.sin(phase)
    factors: NDArray[np.float64] = (0.60 + 0.40 * wave**0.8)[None, :]  # [1, columns]
    return factors


def _quilt(columns: int, rows: int) -> NDArray[np.float64]:
    """Padded diamonds: dark seams cross, each diamond is bright in its middle."""
    across = np.linspace(0, columns, columns * 24)[None, :]
    down = np.linspace(0, rows, rows * 24)[:, None]
    bulge = np.abs(np.sin(np.pi * (across + down)) * np.sin(np.pi * (across - down)))
    factors: NDArray[np.float64] = 0.60 + 0.40 * bulge**0.4  # [rows, columns]
    return factors
