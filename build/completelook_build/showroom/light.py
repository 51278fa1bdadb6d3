"""Light and shadow in a room: warm, cold or dim, never a hint of what fits."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from completelook_build.data import Box

# Shadows are soft, so they are drawn small and blown up.
_SHADOW_SCALE = 2
_SHADOW_RGB = (30, 26, 24)
_SUN_RGB = (255, 250, 238)

# Grain darkens a pixel by less than this many of 255 levels.
_GRAIN = 7

_TINTS = {"warm": (1.0, 0.975, 0.925), "neutral": (1.0, 1.0, 1.0), "cold": (0.95, 0.98, 1.0)}


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
