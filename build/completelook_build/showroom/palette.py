"""Colors: from hue and tone to RGB, through OKLCH.

OKLCH is perceptually even, so that light and dark stay apart for every hue; in HSV a dark yellow is
as bright as a light blue.
"""

import math
from functools import lru_cache

from numpy.random import Generator

from completelook_build.showroom.rule import Color

RGB = tuple[int, int, int]

TONE_LIGHTNESS = {"light": 0.79, "dark": 0.44}
MAX_CHROMA = 0.14
_CHROMA_STEP = 0.005

# Wood of legs, frames and floors, from pale to dark: (lightness, chroma, hue in degrees).
_WOODS = ((0.80, 0.045, 75.0), (0.70, 0.05, 68.0), (0.58, 0.05, 60.0), (0.42, 0.035, 55.0))
_HUE_NAMES = (
    (15.0, "pink"),
    (42.0, "red"),
    (70.0, "orange"),
    (118.0, "yellow"),
    (160.0, "green"),
    (220.0, "teal"),
    (275.0, "blue"),
    (325.0, "purple"),
    (360.0, "pink"),
)


def paint(color: Color, lightness_shift: float = 0.0) -> RGB:
    """The most saturated RGB of this hue and tone, made lighter or darker by the shift."""
    lightness = TONE_LIGHTNESS[color.tone] + lightness_shift
    return _vivid(round(lightness, 3), round(color.hue_degrees, 1))


def neutral(lightness: float, warmth: float = 0.0) -> RGB:
    """A near-grey RGB; warmth runs from -1 (cool) to 1 (warm)."""
    return oklch(lightness, 0.016 * abs(warmth), 75.0 if warmth >= 0 else 250.0)


def wood(rng: Generator) -> RGB:
    """The RGB of some wood."""
    lightness, chroma, hue_degrees = _WOODS[rng.integers(len(_WOODS))]
    return oklch(lightness + rng.uniform(-0.03, 0.03), chroma, hue_degrees)


def hue_name(hue_degrees: float) -> str:
    """The everyday name of a hue."""
    return next(name for end_degrees, name in _HUE_NAMES if hue_degrees % 360.0 < end_degrees)


def mix(one: RGB, other: RGB, share: float) -> RGB:
    """One color with a share of the other mixed in."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def shade(rgb: RGB, factor: float) -> RGB:
    """A color made darker (below 1) or lighter (above 1)."""
    red, green, blue = (min(255, round(channel * factor)) for channel in rgb)
    return red, green, blue


def oklch(lightness: float, chroma: float, hue_degrees: float) -> RGB:
    """RGB of an OKLCH color, clipped to what a screen can show."""
    red, green, blue = (
        round(255 * _gamma(min(1.0, max(0.0, channel))))
        for channel in _linear_rgb(lightness, chroma, hue_degrees)
    )
    return red, green, blue


@lru_cache(maxsize=65536)
def _vivid(lightness: float, hue_degrees: float) -> RGB:
    chroma = MAX_CHROMA
    while chroma > 0 and not all(
        -0.001 <= channel <= 1.001 for channel in _linear_rgb(lightness, chroma, hue_degrees)
    ):
        chroma -= _CHROMA_STEP
    return oklch(lightness, chroma, hue_degrees)


def _linear_rgb(lightness: float, chroma: float, hue_degrees: float) -> tuple[float, float, float]:
    """OKLCH to linear RGB: https://bottosson.github.io/posts/oklab."""
    a = chroma * math.cos(math.radians(hue_degrees))
    b = chroma * math.sin(math.radians(hue_degrees))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
