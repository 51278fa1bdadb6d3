"""Explanations: where in a scene the model looked for a category, as heat on the photo."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from completelook.catalog import CategoryTable
from completelook.files import replacing
from completelook.images import open_image
from completelook.ranking import RankedScene
from completelook.triton import SceneEmbedding

# Heat from cold to hot: the middle of matplotlib's inferno, whose lightness rises evenly.
_HEAT_COLORS = np.array(
    [(20, 11, 52), (101, 21, 110), (187, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32
)
_HEAT_OPACITY = 0.5
_UNLIT_BRIGHTNESS = 0.4
# Attention falls off steeply; the square root lets the runners-up show as well.
_GAMMA = 0.5
_LONGEST_SIDE = 1600


def overlay(photo: Image.Image, attention: NDArray[np.float32]) -> Image.Image:
    """The photo, dark where a category's attention map [14, 14] is low and aglow where it is high.

    The model sees the whole picture squashed to a square, so scaling alone lays the map on it.
    """
    heat = _heat(attention, photo.size)[..., np.newaxis]  # [height, width, 1]
    pixels = np.asarray(photo.convert("RGB"), np.float32)  # [height, width, 3]
    dimmed = pixels * (_UNLIT_BRIGHTNESS + (1 - _UNLIT_BRIGHTNESS) * heat)
    opacity = _HEAT_OPACITY * heat
    blended = dimmed * (1 - opacity) + _colors(heat[..., 0]) * opacity
    return Image.fromarray(blended.round().astype(np.uint8))


def save_overlays(
    scenes: Sequence[RankedScene], categories: CategoryTable, directory: Path
) -> list[Path]:
    """Write one JPEG per scene, embedded with regions, and ranked category.

    Raises ImageError, OSError.
    """
    paths = []
    for scene, scene_name in zip(scenes, _scene_names(scenes), strict=True):
        photo = shrunk(open_image(scene.source), _LONGEST_SIDE)
        for category in scene.matches:
            path = directory / f"{scene_name}--{_file_name(category)}.jpg"
            attention = attention_map(scene.embedding, categories.resolve(category))
            with replacing(path) as beside:
                overlay(photo, attention).save(beside, "JPEG", quality=90)
            paths.append(path)
    return paths


def attention_map(scene: SceneEmbedding, row: int) -> NDArray[np.float32]:
    """Where the scene's model looked for the category of a row, [14, 14]."""
    if scene.attention is None:
        raise ValueError("the scene has no attention: embed it with regions=True")
    attention: NDArray[np.float32] = scene.attention[row]
    return attention


def shrunk(picture: Image.Image, longest_side: int) -> Image.Image:
    """A copy of the picture, no side longer than `longest_side` pixels."""
    copy = picture.copy()
    copy.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return copy


def _scene_names(scenes: Sequence[RankedScene]) -> list[str]:
    """A file name for each scene; scenes of one name are numbered from the second on."""
    seen: Counter[str] = Counter()
    names = []
    for scene in scenes:
        name = _file_name(Path(scene.source).stem)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def _file_name(text: str) -> str:
    """The text as part of a file name on any system: its words, joined by hyphens."""
    return "-".join(re.findall(r"\w+", text)) or "unnamed"


def _heat(attention: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The attention from 0 to 1, scaled up smoothly to a size (width, height), [height, width]."""
    relative = attention.astype(np.float32) / max(float(attention.max()), 1e-12)  # [14, 14]
    smooth = Image.fromarray(relative).resize(size, Image.Resampling.BICUBIC)
    heat: NDArray[np.float32] = np.asarray(smooth, np.float32).clip(0, 1) ** _GAMMA
    return heat  # [height, width]


def _colors(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Heat colors of values from 0 to 1, [height, width, 3]."""
    stops = np.linspace(0, 1, len(_HEAT_COLORS))
    channels = [np.interp(heat, stops, channel) for channel in _HEAT_COLORS.T]
    return np.stack(channels, axis=-1, dtype=np.float32, casting="same_kind")  # [height, width, 3]
