"""A data set in other light: how much of a figure is the light that photo and product share.

Where products are cut out of the very photos that they are matched with, whatever sees the light
of a photo again finds its products. In other light, each product in its own, that is no help.
"""

import random
import shutil
from pathlib import Path

import numpy as np
from completelook.files import replacing
from completelook.images import open_image
from PIL import Image, ImageEnhance

from completelook_build.data.dataset import Dataset

_STRENGTH = 0.4  # of brightness, contrast and saturation
_CAST = 0.15  # of each color


def relight(dataset: Dataset, out: Path) -> Path:
    """Write a data set's pictures to a folder, those of products in another light each.

    The same data give the same pictures. Returns the folder. Raises DataError, ImageError, OSError.
    """
    data = dataset.read(crop=False)
    out.mkdir(parents=True, exist_ok=True)
    for scene in sorted({pair.scene for pair in data.pairs}):
        picture = data.pictures[scene]
        shutil.copyfile(picture, out / picture.name)
    for product in sorted({pair.product for pair in data.pairs}):
        with replacing(out / f"{product}.png") as beside:
            in_other_light(open_image(data.pictures[product]), product).save(beside, "PNG")
    return out


def in_other_light(picture: Image.Image, seed: str) -> Image.Image:
    """A picture in light that follows from the seed: brighter or darker, warmer or colder."""
    drawn = random.Random(seed)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(drawn.uniform(1 - _STRENGTH, 1 + _STRENGTH))
    cast = np.array([drawn.uniform(1 - _CAST, 1 + _CAST) for _ in range(3)], np.float32)
    levels = np.asarray(picture, np.float32) * cast  # [height, width, 3]
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))
