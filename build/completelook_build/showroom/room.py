"""The room without its furniture, its light and shadow: near-neutral, never a hint of what fits."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from completelook_build.data import Box
from completelook_build.showroom.layout import WALL_BOTTOM
from completelook_build.showroom.palette import RGB, neutral, shade, wood
from completelook_build.showroom.sketch import Sketch, ramp

_BASEBOARD_TOP = WALL_BOTTOM - 0.022

# Shadows are soft, so they are drawn small and blown up.
_SHADOW_SCALE = 2
_SHADOW_RGB = (30, 26, 24)
_SUN_RGB = (255, 250, 238)

# Grain darkens a pixel by less than this many of 255 levels.
_GRAIN = 7

_TINTS = {"warm": (1.0, 0.975, 0.925), "neutral": (1.0, 1.0, 1.0), "cold": (0.95, 0.98, 1.0)}


def draw_room(canvas: Sketch, anchors: Mapping[str, Box], rng: Generator) -> None:
    """Draw wall, floor and window; the window lies behind the curtain and the armchair."""
    wall = neutral(rng.uniform(0.88, 0.97), rng.uniform(-0.6, 1.6))
    _draw_wall(canvas, wall, rng)
    floors = (_draw_planks, _draw_tiles, _draw_carpet)
    floors[rng.integers(len(floors))](canvas, rng)
    canvas.multiply(ramp(0.89, 1.0, 1.0), (0.0, WALL_BOTTOM, 1.0, 1.0))
    trim = neutral(0.97, 0.3) if rng.random() < 0.7 else shade(wall, 0.9)
    canvas.rectangle((0.0, _BASEBOARD_TOP, 1.0, WALL_BOTTOM), trim)
    canvas.rectangle((0.0, WALL_BOTTOM - 0.004, 1.0, WALL_BOTTOM), shade(trim, 0.82))
    canvas.rectangle((0.0, 0.0, 1.0, 0.010), trim)
    canvas.rectangle((0.0, 0.010, 1.0, 0.013), shade(trim, 0.84))
    _frame_bricks(canvas, anchors["brick wall"], trim)
    _draw_window(canvas, anchors["curtain"], anchors["armchair"], trim, rng)


def _draw_wall(canvas: Sketch, wall: RGB, rng: Generator) -> None:
    canvas.rectangle((0.0, 0.0, 1.0, WALL_BOTTOM), wall)
    pattern = rng.integers(3)
    if pattern == 1:
        for left in np.arange(0.0, 1.0, 0.05):
            canvas.rectangle((left, 0.0, left + 0.025, WALL_BOTTOM), shade(wall, 0.975))
    elif pattern == 2:
        columns = int(rng.integers(4, 7))
        for column in range(columns):
            left, right = (column + 0.1) / columns, (column + 0.9) / columns
            frame = [(left, 0.2), (right, 0.2), (right, 0.62), (left, 0.62), (left, 0.2)]
            canvas.line(frame, shade(wall, 0.93), 0.006)


def _draw_planks(canvas: Sketch, rng: Generator) -> None:
    """Floorboards that run away from the viewer."""
    base, boards, away = wood(rng), int(rng.integers(13, 20)), rng.uniform(0.4, 0.6)
    edges = [_receding(index / boards * 2 - 0.5, away) for index in range(boards + 1)]
    for (far, near), (next_far, next_near) in pairwise(edges):
        board = [(far, WALL_BOTTOM), (next_far, WALL_BOTTOM), (next_near, 1.0), (near, 1.0)]
        plank = shade(base, rng.uniform(0.93, 1.05))
        canvas.polygon(board, plank)
        cut = rng.uniform(0.1, 0.9)
        joint_y = WALL_BOTTOM + (1 - WALL_BOTTOM) * cut
        ends = [
            (far + (near - far) * cut, joint_y),
            (next_far + (next_near - next_far) * cut, joint_y),
        ]
        canvas.line(ends, shade(base, 0.8), 0.003)
        canvas.line([(far, WALL_BOTTOM), (near, 1.0)], shade(base, 0.82), 0.0025)


def _draw_tiles(canvas: Sketch, rng: Generator) -> None:
    """Large stone tiles in two near tones."""
    stone, away = neutral(rng.uniform(0.72, 0.90), rng.uniform(-0.5, 1.0)), rng.uniform(0.4, 0.6)
    other, columns, rows = shade(stone, rng.uniform(0.90, 0.97)), 12, 5
    depths = WALL_BOTTOM + (1 - WALL_BOTTOM) * np.linspace(0, 1, rows + 1) ** 1.6
    edges = [_receding(index / columns * 2 - 0.5, away) for index in range(columns + 1)]
    for row in range(rows):
        shares = [(depths[row + end] - WALL_BOTTOM) / (1 - WALL_BOTTOM) for end in (0, 1)]
        for column in range(columns):
            corners = [
                (far + (near - far) * share, depths[row + end])
                for end, share in enumerate(shares)
                for far, near in edges[column : column + 2]
            ]
            tile = [corners[0], corners[1], corners[3], corners[2]]
            canvas.polygon(tile, stone if (row + column) % 2 else other)
            canvas.line([*tile, tile[0]], shade(stone, 0.86), 0.0025)


def _draw_carpet(canvas: Sketch, rng: Generator) -> None:
    """Plain carpet or screed."""
    carpet = neutral(rng.uniform(0.68, 0.90), rng.uniform(-0.3, 1.4))
    canvas.rectangle((0.0, WALL_BOTTOM, 1.0, 1.0), carpet)
    canvas.multiply(1.0 - 0.06 * rng.random((40, 90)), (0.0, WALL_BOTTOM, 1.0, 1.0))


def _receding(near_x: float, away: float) -> tuple[float, float]:
    """Where an edge of the floor meets the wall and the picture's bottom."""
    return away + (near_x - away) * 0.55, near_x


def _frame_bricks(canvas: Sketch, bricks: Box, trim: RGB) -> None:
    """A molding around the panel of brick."""
    for breadth, rgb in ((0.014, shade(trim, 0.86)), (0.012, trim), (0.004, shade(trim, 0.8))):
        frame = Box(
            bricks.left - breadth * 0.8,
            bricks.top - breadth,
            bricks.right + breadth * 0.8,
            bricks.bottom + breadth,
        )
        canvas.rectangle(frame, rgb)


def _draw_window(canvas: Sketch, curtain: Box, armchair: Box, trim: RGB, rng: Generator) -> None:
    """A window with a curtain rod, from behind the curtain to the far side of the armchair."""
    left, right = min(curtain.left, armchair.left) + 0.02, max(curtain.right, armchair.right) - 0.02
    top, sill = curtain.top + 0.02, rng.uniform(0.52, 0.56)
    canvas.rectangle((left, top, right, sill), trim)
    pane = (left + 0.012, top + 0.014, right - 0.012, sill - 0.014)
    canvas.rectangle(pane, neutral(0.98, -0.8))
    canvas.multiply(ramp(rng.uniform(0.82, 0.92), 1.0), pane)
    for share in (1 / 3, 2 / 3):
        bar = left + (right - left) * share
        canvas.rectangle((bar - 0.004, top, bar + 0.004, sill), trim)
    middle = top + (sill - top) * 0.4
    canvas.rectangle((left, middle - 0.005, right, middle + 0.005), trim)
    canvas.rectangle((left - 0.012, sill - 0.004, right + 0.012, sill + 0.012), shade(trim, 0.95))
    metal = neutral(float(rng.choice([0.25, 0.4, 0.55])), 0.8)
    rod_y = curtain.top - 0.004
    canvas.line([(left - 0.03, rod_y), (right + 0.03, rod_y)], metal, 0.008)


def cast_shadows(image: Image.Image, anchors: Mapping[str, Box], standing: Sequence[Box]) -> None:
    """Darken the wall and the floor around the anchors, and the floor under what stands there."""
    width_px, height_px = (side // _SHADOW_SCALE for side in image.size)
    mask = Image.new("L", (width_px, height_px))
    draw = ImageDraw.Draw(mask)
    for name in ("curtain", "cabinet"):
        left, top, right, bottom = anchors[name]
        draw.rectangle(Box(left + 0.008, top + 0.01, right + 0.012, bottom).pixels(*mask.size), 95)
    for left, top, right, bottom in (
        *(anchors[n] for n in ("sofa", "armchair", "cabinet")),
        *standing,
    ):
        depth = 0.1 * (bottom - top)
        foot = Box(left - 0.015, bottom - depth, right + 0.02, bottom + depth * 0.7)
        draw.ellipse(foot.pixels(*mask.size), 150)
    mask = mask.filter(ImageFilter.GaussianBlur(width_px / 110)).resize(image.size)
    image.paste(_SHADOW_RGB, mask=mask)


def cast_sunlight(image: Image.Image, anchors: Mapping[str, Box], rng: Generator) -> None:
    """Lay the window's light on the floor: slanted panes that the sun, if it shines, brightens."""
    width_px, height_px = (side // _SHADOW_SCALE for side in image.size)
    mask = Image.new("L", (width_px, height_px))
    draw = ImageDraw.Draw(mask)
    curtain, armchair = anchors["curtain"], anchors["armchair"]
    left, right = min(curtain.left, armchair.left), max(curtain.right, armchair.right)
    slant, strength = rng.uniform(-0.25, 0.25), int(rng.choice([0, 35, 60, 80]))
    for pane in range(3):
        far_left = left + (right - left) * (pane + 0.1) / 3
        far_right = far_left + (right - left) * 0.8 / 3
        corners = [(far_left + slant * 0.4, 0.74), (far_right + slant * 0.4, 0.74)]
        corners += [(far_right + slant + 0.03, 0.96), (far_left + slant - 0.03, 0.96)]
        draw.polygon([(x * width_px, y * height_px) for x, y in corners], strength)
    mask = mask.filter(ImageFilter.GaussianBlur(1.5)).resize(image.size)
    image.paste(_SUN_RGB, mask=mask)


def light_room(image: Image.Image, rng: Generator) -> Image.Image:
    """The room under a light of some color and strength from some side, with a little grain."""
    names = list(_TINTS)
    tint = np.array(_TINTS[names[rng.integers(len(names))]])
    strength = rng.uniform(0.88, 1.02)
    x, y = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 24))
    slope = rng.uniform(-0.06, 0.06) * x - rng.uniform(0.0, 0.05) * y
    vignette = 0.06 * (x**2 + y**2) / 2
    falloff = np.clip(strength * (0.97 + slope - vignette), 0, 1)  # [24, 24]
    factors = falloff[:, :, None] * tint  # [24, 24, 3]
    veil = Image.fromarray((factors * 255).astype(np.uint8)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    return _with_grain(ImageChops.multiply(image, veil), rng)


def _with_grain(image: Image.Image, rng: Generator) -> Image.Image:
    """Fine film grain, so that no surface is perfectly flat."""
    grain = Image.frombytes("L", image.size, rng.bytes(image.width * image.height))
    grain = grain.point([level * _GRAIN // 256 for level in range(256)])
    return ImageChops.subtract(image, grain.convert("RGB"))
