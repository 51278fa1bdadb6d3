"""A drawing board with coordinates from 0 to 1, supersampled so that edges come out smooth."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from completelook_build.data import Box
from completelook_build.showroom.palette import RGB

SUPERSAMPLING = 2
_BLACK = (0, 0, 0)

Point = tuple[float, float]


class Sketch:
    """A picture to draw on; coordinates run from 0 to 1 in both directions.

    It is transparent, or opaque where a background is given. Line widths and corner radii are
    shares of the shorter side.
    """

    def __init__(self, width_px: float, height_px: float, background: RGB | None = None) -> None:
        size = (round(width_px * SUPERSAMPLING), round(height_px * SUPERSAMPLING))
        self.image = Image.new("RGB", size, background) if background else Image.new("RGBA", size)
        self._draw = ImageDraw.Draw(self.image)

    def finished(self) -> Image.Image:
        """The picture at its own size, its edges smooth."""
        return self.image.reduce(SUPERSAMPLING)

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.image.width / self.image.height

    def rectangle(self, box: Sequence[float], fill: RGB, radius: float = 0.0) -> None:
        """A filled rectangle (left, top, right, bottom) with round corners."""
        left, top, right, bottom = self._box(box)
        longest = max(0, min(right - left, bottom - top) // 2)
        self._draw.rounded_rectangle(
            (left, top, right, bottom), min(longest, self._length(radius)), fill
        )

    def ellipse(self, box: Sequence[float], fill: RGB) -> None:
        """A filled ellipse that touches the four sides of the box."""
        self._draw.ellipse(self._box(box), fill)

    def pie(
        self, box: Sequence[float], start_degrees: float, end_degrees: float, fill: RGB
    ) -> None:
        """A filled part of an ellipse; angles run clockwise from three o'clock."""
        self._draw.pieslice(self._box(box), start_degrees, end_degrees, fill)

    def polygon(self, points: Sequence[Point], fill: RGB) -> None:
        """A filled polygon."""
        self._draw.polygon([self._point(point) for point in points], fill)

    def line(self, points: Sequence[Point], fill: RGB, width: float) -> None:
        """A line through the points, with round joints."""
        width_px = max(1, self._length(width))
        self._draw.line([self._point(point) for point in points], fill, width_px, joint="curve")

    def arc(
        self, box: Sequence[float], degrees: tuple[float, float], fill: RGB, width: float
    ) -> None:
        """A part of an ellipse's outline; angles run clockwise from three o'clock."""
        self._draw.arc(self._box(box), *degrees, fill, max(1, self._length(width)))

    def multiply(self, factors: NDArray[np.float64], box: Sequence[float] = (0, 0, 1, 1)) -> None:
        """Darken what is drawn inside the box by factors [rows, columns] from 0 to 1, smoothly."""
        left, top, right, bottom = self._box(box)
        size = (right - left, bottom - top)
        veil = Image.fromarray((255.5 - factors.clip(0, 1) * 255).astype(np.uint8))
        veil = veil.resize(size, Image.Resampling.BILINEAR)
        if self.image.mode == "RGB":
            self.image.paste(_BLACK, (left, top), veil)
            return
        # Pasting black would make transparent surroundings opaque.
        region = self.image.crop((left, top, right, bottom))
        alpha = region.getchannel("A")
        region.paste(_BLACK, (0, 0), veil)
        region.putalpha(alpha)
        self.image.paste(region, (left, top))

    def inset(self, box: Sequence[float], draw: "Callable[[Sketch], None]") -> None:
        """Draw something so that it fills a box of this sketch, and nothing beyond its outline."""
        left, top, right, bottom = self._box(box)
        part = Sketch((right - left) / SUPERSAMPLING, (bottom - top) / SUPERSAMPLING)
        draw(part)
        self.image.paste(part.image, (left, top), part.image)

    def slant(self, inset: float = 0.12) -> None:
        """Lean the picture away from the viewer: its upper side loses the inset at each end."""
        width, height = self.image.size
        beyond = inset * width / (1 - 2 * inset)
        corners = (-beyond, 0, 0, height, width, height, width + beyond, 0)
        self.image = self.image.transform(
            self.image.size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR
        )
        self._draw = ImageDraw.Draw(self.image)

    def _point(self, point: Point) -> tuple[int, int]:
        return round(point[0] * self.image.width), round(point[1] * self.image.height)

    def _box(self, box: Sequence[float]) -> tuple[int, int, int, int]:
        return Box(*box).pixels(self.image.width - 1, self.image.height - 1)

    def _length(self, share: float) -> int:
        return round(share * min(self.image.size))


def stamp(image: Image.Image, box: Box, draw: Callable[[Sketch], None]) -> None:
    """Draw something so that it fills a box of a picture."""
    left, top, right, bottom = box.pixels(*image.size)
    sketch = Sketch(right - left, bottom - top)
    draw(sketch)
    stamped = sketch.finished()
    image.paste(stamped, (left, top), stamped)


def ramp(*factors: float, across: bool = False) -> NDArray[np.float64]:
    """Factors for `Sketch.multiply` that run from top to bottom, or from left to right."""
    column = np.array(factors)[:, None]  # [n, 1]
    return column.T if across else column
