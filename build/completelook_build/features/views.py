"""Views of a picture: more rows of the store, from which training with few scenes draws.

View 0 is the picture as it is served, view 1 its mirror. The others are random: a part of 40 to
100% of its area, in other light, mirrored or not. What is random follows from the picture's key
and the view's number, so that a view is the same whenever it is computed.
"""

import hashlib
import random
from collections.abc import Sequence

import numpy as np
from completelook.contract import IMAGE_SIZE
from completelook.errors import ImageError
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from completelook_build.features.picture import Picture

PLAIN, MIRRORED = 0, 1

# Another number whenever views are made otherwise: it is a part of their keys.
_MAKING = 1
_LEAST_AREA = 0.4
_ASPECTS = (0.8, 1.25)
_JITTER = 0.25  # of brightness, contrast and saturation
_CAST = _JITTER / 3  # of each color: the light's


def view_key(key: bytes, view: int) -> bytes:
    """The key of a picture's view; that of the plain one is the picture's own."""
    if view == PLAIN:
        return key
    return hashlib.sha256(key + f"view {view}, making {_MAKING}".encode()).digest()


def load_views(
    picture: Picture, key: bytes, views: Sequence[int]
) -> list[NDArray[np.uint8]] | None:
    """Some views as the backbone takes them, [224, 224, 3] each; None where it cannot be read.

    `key` is the picture's own.
    """
    try:
        plain = picture.load() if any(view <= MIRRORED for view in views) else None
        whole = picture.open() if any(view > MIRRORED for view in views) else None
    except ImageError:
        return None
    made = []
    for view in views:
        if view <= MIRRORED:
            assert plain is not None
            made.append(plain if view == PLAIN else np.ascontiguousarray(plain[:, ::-1]))
        else:
            assert whole is not None
            made.append(_random_view(whole, random.Random(view_key(key, view))))
    return made


def _random_view(whole: Image.Image, drawn: random.Random) -> NDArray[np.uint8]:
    area, aspect = drawn.uniform(_LEAST_AREA, 1.0), drawn.uniform(*_ASPECTS)
    width = min(1.0, (area * aspect) ** 0.5) * whole.width
    height = min(1.0, (area / aspect) ** 0.5) * whole.height
    left, top = drawn.uniform(0, whole.width - width), drawn.uniform(0, whole.height - height)
    view = whole.resize(
        (IMAGE_SIZE, IMAGE_SIZE),
        Image.Resampling.BILINEAR,
        box=(left, top, left + width, top + height),
        reducing_gap=2.0,
    )
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhance(view).enhance(drawn.uniform(1 - _JITTER, 1 + _JITTER))
    if drawn.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    cast = [drawn.uniform(1 - _CAST, 1 + _CAST) for _ in range(3)]
    levels = np.asarray(view, dtype=np.float32) * np.array(cast, dtype=np.float32)
    return levels.clip(0, 255).astype(np.uint8)
