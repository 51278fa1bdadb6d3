"""Explanations: where in a scene the model looked for a category, drawn on the photo."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from completelook.ranking import Steering

# Of the attention, what the outlined part of the photo holds.
SHARE = 0.5
# The rest of the photo is gray: darker, and lifted off black so that it stays recognizable.
_REST_CONTRAST, _REST_LIFT = 0.45, 50
_OUTLINE_COLOR, _OUTLINE_EDGE_COLOR = (255, 176, 0), (20, 20, 20)
_FOCUS_COLOR, _IGNORE_COLOR = (60, 160, 255), (230, 60, 60)
_OUTLINE_OF_SIDE = 1 / 300
# Fine enough to find the level at which a map is cut.
_FINE = (112, 112)


def overlay(photo: Image.Image, attention: NDArray[np.floating[Any]]) -> Image.Image:
    """The photo with what holds half of an attention map [14, 14] outlined in its own colors.

    It is the smallest such part; the rest is gray. A map that is even all over thus shows half of
    the photo. The model sees the whole picture squashed to a square, so scaling alone lays the map
    on it.
    """
    looked_at = _looked_at(attention, photo.size)  # [height, width]
    pixels = np.asarray(photo.convert("RGB"), np.float32)  # [height, width, 3]
    gray = np.asarray(photo.convert("L"), np.float32)[..., np.newaxis]  # [height, width, 1]
    drawn = np.where(looked_at[..., np.newaxis], pixels, gray * _REST_CONTRAST + _REST_LIFT)
    width = max(1, round(max(photo.size) * _OUTLINE_OF_SIDE))
    drawn[_outline(looked_at, width + 1)] = _OUTLINE_EDGE_COLOR
    drawn[_outline(looked_at, width)] = _OUTLINE_COLOR
    return Image.fromarray(drawn.round().clip(0, 255).astype(np.uint8))


def marked(photo: Image.Image, steering: Steering) -> Image.Image:
    """A copy of the photo with the parts to ignore crossed out, and those in focus framed."""
    copy = photo.convert("RGB")
    pen = ImageDraw.Draw(copy)
    width = max(1, round(max(photo.size) * _OUTLINE_OF_SIDE))
    for color, boxes in ((_FOCUS_COLOR, steering.focus), (_IGNORE_COLOR, steering.ignore)):
        for box in boxes:
            left, top, right, bottom = (
                round(share * (side - 1)) for share, side in zip(box, 2 * photo.size, strict=True)
            )
            pen.rectangle((left, top, right, bottom), outline=color, width=width)
            if color == _IGNORE_COLOR:
                pen.line((left, top, right, bottom), color, width)
                pen.line((left, bottom, right, top), color, width)
    return copy


def _looked_at(attention: NDArray[np.floating[Any]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The part of a picture of a size (width, height) that holds SHARE of a map.

    A mask [height, width], of the map as it is between the regions' centers.
    """
    fine = Image.fromarray(attention.astype(np.float32)).resize(_FINE, Image.Resampling.BICUBIC)
    weights = np.sort(np.asarray(fine, np.float64).clip(0), axis=None)[::-1]  # falling
    held = np.cumsum(weights)
    level = weights[min(np.searchsorted(held, SHARE * held[-1]), weights.size - 1)]
    mask: NDArray[np.bool_] = np.asarray(fine.resize(size, Image.Resampling.BILINEAR)) >= level
    return mask


def _outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Where a mask [height, width] has an edge within some pixels."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    grown = np.asarray(picture.filter(ImageFilter.MaxFilter(2 * width + 1))) > 0
    shrunken = np.asarray(picture.filter(ImageFilter.MinFilter(2 * width + 1))) > 0
    return grown & ~shrunken
