"""A product alone on white, as a shop photographs it."""

from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from completelook_build.data import Box
from completelook_build.showroom.product import PRODUCT_KINDS, Product
from completelook_build.showroom.sketch import Sketch, ramp, stamp

_WHITE = (255, 255, 255)
_SHADOW_RGB = (60, 58, 56)


def draw_photo(product: Product, rng: Generator) -> Image.Image:
    """The product on white, of varied size, place and light."""
    kind = PRODUCT_KINDS[product.category]
    side_px = int(rng.integers(280, 361))
    width, aspect = rng.uniform(0.78, 0.94), rng.uniform(*kind.aspect)
    height = min(0.94, width / aspect)
    left, top = (1 - width) * rng.uniform(0.35, 0.65), (1 - height) * rng.uniform(0.35, 0.6)
    box = Box(left, top, left + width, top + height)
    image = Image.new("RGB", (side_px, side_px), _WHITE)
    if kind.strip == "floor" and not kind.lies_flat:
        _cast_shadow(image, box)

    def draw(sketch: Sketch) -> None:
        product.draw(sketch)
        _light(sketch, rng)

    stamp(image, box, draw)
    return image


def _cast_shadow(image: Image.Image, box: Box) -> None:
    mask = Image.new("L", image.size)
    foot = Box(box.left, box.bottom - 0.07, box.right, min(1.0, box.bottom + 0.03))
    ImageDraw.Draw(mask).ellipse(foot.pixels(*image.size), 120)
    image.paste(_SHADOW_RGB, mask=mask.filter(ImageFilter.GaussianBlur(image.width / 40)))


def _light(sketch: Sketch, rng: Generator) -> None:
    """Studio light from some side, a little stronger or weaker."""
    strength, slope = rng.uniform(0.92, 1.0), rng.uniform(-0.08, 0.08)
    sketch.multiply(strength * ramp(1.0 - max(slope, 0), 1.0 + min(slope, 0), across=True))
