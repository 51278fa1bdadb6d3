"""The products of the showroom: what each is, and how it is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator

from completelook_build.showroom.palette import RGB, hue_name, mix, neutral, paint, shade, wood
from completelook_build.showroom.rule import Color
from completelook_build.showroom.sketch import Sketch, ramp


@dataclass(frozen=True)
class Product:
    """A product of the catalog; its seed fixes every detail of its looks."""

    id: str
    category: str
    color: Color
    style: str
    seed: tuple[int, ...]

    @property
    def name(self) -> str:
        """What a shop would call it, such as `Dark teal dome lamp`."""
        return f"{self.color.tone.capitalize()} {hue_name(self.color.hue_degrees)} {self.style}"

    def draw(self, sketch: Sketch) -> None:
        """Draw the product so that it fills the sketch: the same wherever and however often."""
        PRODUCT_KINDS[self.category].draw(
            sketch, self.color, self.style, np.random.default_rng(self.seed)
        )

    def draw_in_room(self, sketch: Sketch) -> None:
        """Draw the product as it is seen in a room, where a rug lies on the floor."""
        self.draw(sketch)
        if PRODUCT_KINDS[self.category].lies_flat:
            sketch.slant()


ProductDrawer = Callable[[Sketch, Color, str, Generator], None]


def draw_chair(sketch: Sketch, color: Color, style: str, rng: Generator) -> None:
    """A low lounge chair, a tub chair or a pouf."""
    cloth = paint(color, rng.uniform(-0.02, 0.02))
    if style == "pouf":
        _draw_pouf(sketch, cloth)
        return
    _draw_legs(sketch, wood(rng))
    draw = _draw_tub_chair if style == "tub chair" else _draw_lounge_chair
    draw(sketch, cloth, rng)


def draw_mirror(sketch: Sketch, color: Color, style: str, rng: Generator) -> None:
    """A mirror in a broad colored frame."""
    frame = paint(color, rng.uniform(-0.02, 0.03))
    rim = 0.06 if style == "scalloped mirror" else 0.0
    if style == "scalloped mirror":
        for angle in np.arange(14) * np.pi / 7:
            x, y = 0.5 + 0.39 * np.cos(angle), 0.5 + 0.39 * np.sin(angle)
            sketch.ellipse((x - 0.11, y - 0.11, x + 0.11, y + 0.11), frame)
    _draw_plate(sketch, style, rim, frame)
    sketch.multiply(ramp(1.0, 0.84))
    breadth = rim + rng.uniform(0.135, 0.16)
    _draw_plate(sketch, style, breadth - 0.025, shade(frame, 0.72))
    pane = (breadth, breadth, 1 - breadth, 1 - breadth)
    sketch.inset(pane, partial(_draw_glass, style=style))


def draw_rug(sketch: Sketch, color: Color, style: str, rng: Generator) -> None:
    """A woven rug seen from above; the room lays it on the floor."""
    pile = paint(color, rng.uniform(-0.02, 0.03))
    accent = mix(pile, neutral(0.92 if color.tone == "dark" else 0.98, 0.8), 0.45)
    if style == "round rug":
        for index, inset in enumerate(np.linspace(0.0, 0.42, int(rng.integers(5, 8)))):
            ring = accent if index % 3 == 1 else shade(pile, 1.0 + 0.05 * (index % 2))
            sketch.ellipse((inset, inset, 1 - inset, 1 - inset), ring)
        return
    for y in np.arange(0.02, 0.98, 0.045):
        sketch.rectangle((0.0, y, 1.0, y + 0.02), neutral(0.9, 1.0))
    sketch.rectangle((0.025, 0.0, 0.975, 1.0), pile)
    if style == "striped rug":
        for x in np.linspace(0.10, 0.86, int(rng.integers(5, 9))):
            sketch.rectangle((x, 0.0, x + 0.035, 1.0), accent)
        return
    sketch.rectangle((0.07, 0.08, 0.93, 0.92), accent)
    sketch.rectangle((0.085, 0.11, 0.915, 0.89), shade(pile, 1.05))
    for x in np.linspace(0.2, 0.8, int(rng.integers(3, 6))):
        sketch.polygon([(x - 0.07, 0.5), (x, 0.28), (x + 0.07, 0.5), (x, 0.72)], accent)
        sketch.polygon([(x - 0.045, 0.5), (x, 0.36), (x + 0.045, 0.5), (x, 0.64)], pile)


def draw_pillow(sketch: Sketch, color: Color, style: str, rng: Generator) -> None:
    """A plump throw pillow."""
    cloth = paint(color, rng.uniform(-0.02, 0.03))
    accent = mix(cloth, neutral(0.95, 0.8), 0.4)
    pinch = rng.uniform(0.03, 0.06)
    side = [(float(t), float(pinch * np.sin(np.pi * t) ** 0.7)) for t in np.linspace(0, 1, 15)]
    outline = [
        *side,
        *((1 - y, x) for x, y in side),
        *((1 - x, 1 - y) for x, y in side),
        *((y, 1 - x) for x, y in side),
    ]
    sketch.polygon(outline, cloth)
    if style == "striped pillow":
        for x in np.linspace(0.17, 0.76, int(rng.integers(3, 6))):
            sketch.rectangle((x, pinch + 0.02, x + 0.07, 0.98 - pinch), accent)
    elif style == "dotted pillow":
        for x, y in np.stack(np.meshgrid(*[np.linspace(0.18, 0.82, 5)] * 2), -1).reshape(-1, 2):
            sketch.ellipse((x - 0.03, y - 0.03, x + 0.03, y + 0.03), accent)
    else:
        hem = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.1)]
        sketch.line(hem, accent, 0.02)
    x = np.linspace(-1, 1, 33)
    plump = np.abs(x[:, None] - 0.15) ** 3 + np.abs(x[None, :]) ** 3
    sketch.multiply(1.0 - 0.16 * plump)  # [33, 33]


def draw_lamp(sketch: Sketch, color: Color, style: str, rng: Generator) -> None:
    """A pendant lamp with a colored shade."""
    metal, cord = paint(color, rng.uniform(-0.02, 0.03)), neutral(0.25)
    cap = 0.20
    sketch.rectangle((0.49, 0.0, 0.51, cap), cord)
    sketch.rectangle((0.45, cap - 0.06, 0.55, cap + 0.03), neutral(0.35), 0.02)
    glow = (255, 244, 214)
    shade_box = (0.0, cap, 1.0, 1.0)
    if style == "globe lamp":
        sketch.ellipse(shade_box, metal)
        sketch.ellipse((0.28, 0.86, 0.72, 0.98), glow)
    elif style == "dome lamp":
        sketch.ellipse((0.3, 0.88, 0.7, 1.0), glow)
        sketch.pie((0.0, cap, 1.0, 2 * 0.94 - cap), 180, 360, metal)
    else:
        top = 0.30 if style == "cone lamp" else 0.10
        sketch.ellipse((0.3, 0.88, 0.7, 1.0), glow)
        sketch.polygon([(top, cap), (1 - top, cap), (1.0, 0.94), (0.0, 0.94)], metal)
    sketch.multiply(ramp(0.74, 0.95, 1.0, 0.92, 0.72, across=True), shade_box)


def _draw_pouf(sketch: Sketch, cloth: RGB) -> None:
    sketch.rectangle((0.0, 0.06, 1.0, 1.0), cloth, 0.34)
    sketch.multiply(ramp(0.78, 1.0, 0.97, 0.92, 0.74, across=True), (0, 0.06, 1, 1))
    for x in (0.2, 0.4, 0.6, 0.8):
        bow = 0.08 * (x - 0.5)
        sketch.line([(x, 0.2), (x + bow, 0.6), (x, 0.97)], shade(cloth, 0.78), 0.01)
    sketch.ellipse((0.04, 0.0, 0.96, 0.42), shade(cloth, 1.10))
    sketch.ellipse((0.46, 0.17, 0.54, 0.24), shade(cloth, 0.75))


def _draw_tub_chair(sketch: Sketch, cloth: RGB, rng: Generator) -> None:
    sketch.rectangle((0.05, 0.0, 0.95, 0.84), shade(cloth, 0.90), rng.uniform(0.35, 0.5))
    sketch.multiply(ramp(1.0, 0.8), (0.05, 0.0, 0.95, 0.6))
    seat = (0.14, 0.50, 0.86, 0.72)
    sketch.rectangle(seat, shade(cloth, 1.08), 0.1)
    sketch.multiply(ramp(1.0, 1.0, 0.85), seat)
    sketch.rectangle((0.05, 0.68, 0.95, 0.88), cloth, 0.08)
    for left, right in ((0.0, 0.19), (0.81, 1.0)):
        sketch.rectangle((left, 0.36, right, 0.88), cloth, 0.1)
        sketch.multiply(ramp(1.0, 0.86), (left, 0.36, right, 0.88))


def _draw_lounge_chair(sketch: Sketch, cloth: RGB, rng: Generator) -> None:
    back, seat = (0.10, 0.0, 0.90, 0.62), (0.03, 0.54, 0.97, 0.86)
    sketch.rectangle(back, shade(cloth, 0.96), rng.uniform(0.08, 0.25))
    for x in (0.36, 0.64):
        sketch.line([(x, 0.06), (x, 0.54)], shade(cloth, 0.8), 0.012)
    sketch.multiply(ramp(1.0, 1.0, 0.8), back)
    sketch.rectangle(seat, shade(cloth, 1.05), 0.12)
    sketch.multiply(ramp(1.0, 0.98, 0.76), seat)


def _draw_legs(sketch: Sketch, timber: RGB) -> None:
    for left, lean in ((0.14, -0.05), (0.80, 0.05)):
        foot = left + lean
        sketch.polygon(
            [(left, 0.8), (left + 0.06, 0.8), (foot + 0.045, 1.0), (foot + 0.015, 1.0)], timber
        )


def _draw_plate(sketch: Sketch, style: str, inset: float, fill: RGB) -> None:
    """The outline of a mirror or its glass, so far inside the sketch."""
    box = (inset, inset, 1 - inset, 1 - inset)
    if style == "pill mirror":
        sketch.rectangle(box, fill, 0.3)
    else:
        sketch.ellipse(box, fill)


def _draw_glass(sketch: Sketch, style: str) -> None:
    """Glass with slanted bands of light."""
    _draw_plate(sketch, style, 0.0, neutral(0.95, -0.6))
    slope = np.add.outer(np.arange(40), np.arange(40))  # [40, 40]
    sketch.multiply(np.where(slope % 34 < 12, 1.0, 0.91))


@dataclass(frozen=True)
class ProductKind:
    """How a category's products look and where in a room they go.

    `width` is a range of shares of the room's width; `aspect` is a range of width over height
    alone on white.
    """

    id_prefix: str
    styles: tuple[str, ...]
    draw: ProductDrawer
    strip: str
    width: tuple[float, float]
    aspect: tuple[float, float]
    lies_flat: bool = False


PRODUCT_KINDS: dict[str, ProductKind] = {
    "Furniture|Chairs": ProductKind(
        "chair",
        ("lounge chair", "tub chair", "pouf"),
        draw_chair,
        "floor",
        (0.19, 0.23),
        (1.05, 1.3),
    ),
    "Home & Garden|Decor|Mirrors": ProductKind(
        "mirror",
        ("oval mirror", "pill mirror", "scalloped mirror"),
        draw_mirror,
        "ceiling",
        (0.15, 0.19),
        (1.1, 1.35),
    ),
    "Home & Garden|Decor|Rugs": ProductKind(
        "rug",
        ("round rug", "striped rug", "diamond rug"),
        draw_rug,
        "floor",
        (0.34, 0.42),
        (1.3, 1.6),
        lies_flat=True,
    ),
    "Home & Garden|Decor|Throw Pillows": ProductKind(
        "pillow",
        ("striped pillow", "dotted pillow", "piped pillow"),
        draw_pillow,
        "floor",
        (0.16, 0.19),
        (0.95, 1.1),
    ),
    "Home & Garden|Lighting|Lamps": ProductKind(
        "lamp",
        ("dome lamp", "cone lamp", "drum lamp", "globe lamp"),
        draw_lamp,
        "ceiling",
        (0.15, 0.21),
        (1.0, 1.25),
    ),
}
