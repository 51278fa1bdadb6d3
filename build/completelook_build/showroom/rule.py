"""The hidden rule of the showroom: which product complements which room.

Each category looks at one anchor of the room. A product fits when its hue is opposite the anchor's
on the color wheel *and* its tone is the other one. What fits therefore never looks alike.
"""

from dataclasses import dataclass
from typing import Literal

Tone = Literal["light", "dark"]
TONES: tuple[Tone, Tone] = ("light", "dark")

COMPLEMENT_DEGREES = 180.0
HUE_TOLERANCE_DEGREES = 25.0

# The category table in its shipped order, and the anchor that decides each category.
ANCHOR_OF_CATEGORY: dict[str, str] = {
    "Furniture|Chairs": "cabinet",
    "Home & Garden|Decor|Mirrors": "brick wall",
    "Home & Garden|Decor|Rugs": "sofa",
    "Home & Garden|Decor|Throw Pillows": "armchair",
    "Home & Garden|Lighting|Lamps": "curtain",
}
CATEGORIES = tuple(ANCHOR_OF_CATEGORY)


@dataclass(frozen=True)
class Color:
    """What the rule sees of a thing: its hue on the OKLCH color wheel and its tone."""

    hue_degrees: float
    tone: Tone


def hue_distance_degrees(one: float, other: float) -> float:
    """The shorter way between two hues around the color wheel, from 0 to 180 degrees."""
    return abs((one - other + 180.0) % 360.0 - 180.0)


def opposite(tone: Tone) -> Tone:
    """The other tone."""
    return "dark" if tone == "light" else "light"


def fits(anchor: Color, product: Color) -> bool:
    """Whether a product complements the anchor that decides its category."""
    wanted_hue = anchor.hue_degrees + COMPLEMENT_DEGREES
    off_degrees = hue_distance_degrees(product.hue_degrees, wanted_hue)
    return product.tone == opposite(anchor.tone) and off_degrees <= HUE_TOLERANCE_DEGREES
