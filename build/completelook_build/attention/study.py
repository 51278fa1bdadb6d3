"""The attention study: does the model look where the rule behind the data says it should?

Where the data has anchors.json beside the pairs ({scene: {category: [left, top, right, bottom]}},
whole-scene coordinates, as the showroom writes it), the attention is held against the anchor's box:
how much of its mass is inside, and whether its peak is (the pointing game of Zhang et al., Top-down
Neural Attention by Excitation Backprop, ECCV 2016). The entropy of the attention needs no anchors.
Where the pairs have boxes, all of a scene's together stand in for what is not background. A generic
saliency map goes through the same measures.

Shapes: V views, C categories; a map is [14, 14] and sums to 1.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from completelook.contract import IMAGE_SIZE, REGION_GRID, REGIONS
from numpy.typing import NDArray
from PIL import Image

from completelook_build.attention.boxes import BoxFigures, box_figures
from completelook_build.attention.saliency import spectral_residual
from completelook_build.data import Box
from completelook_build.errors import DataError
from completelook_build.evaluation import (
    RESAMPLES,
    Array,
    Estimate,
    scene_weights,
    weighted_means,
    with_interval,
)
from completelook_build.features import Picture, Split, scene_picture
from completelook_build.heads import CompatibilityHeads

_SCENES_AT_ONCE = 64

Anchors = Mapping[str, Mapping[str, Box]]  # scene -> category -> box in the whole scene
Boxes = Mapping[str, Sequence[Box]]  # scene -> its products' boxes in the whole scene


@dataclass(frozen=True)
class View:
    """A scene without a pair's product, looked at for the category of that product."""

    scene: str
    category: int
    row: int  # of the scene's features
    picture: Picture
    anchor: Box | None  # in the cropped picture; None without one, or where it is cut away
    boxes: tuple[Box, ...] = ()  # of the scene's products, in the cropped picture


@dataclass(frozen=True)
class MapFigures:
    """What one kind of map shows, averaged over views; NaN where no view has an anchor."""

    mass: Estimate  # inside the anchor's box
    mass_ratio: Estimate  # mean mass / mean share of the area
    mean_ratio: Estimate  # the mean of each view's mass / share
    pointing: Estimate  # how often the peak is inside; by chance, the share of the area
    entropy: Estimate  # / log 196: 1 is an even map


@dataclass(frozen=True)
class AttentionFigures:
    """The figures of some views, for the attention and for generic saliency."""

    views: int
    scenes: int
    anchored: int
    area_share: Estimate  # of the anchors' boxes in the crop
    attention: MapFigures
    saliency: MapFigures
    boxes: BoxFigures


@dataclass(frozen=True)
class AttentionStudy:
    """The figures over all views and by category."""

    overall: AttentionFigures
    by_category: Mapping[str, AttentionFigures]
    views: tuple[View, ...]
    has_anchors: bool
    cut_away: int  # views whose anchor the crop leaves out

    @property
    def has_boxes(self) -> bool:
        """Whether some view shows a box of its scene's products."""
        return any(view.boxes for view in self.views)

    @property
    def without_anchor(self) -> int:
        """Views of a scene and category for which anchors.json has no box."""
        return self.overall.views - self.overall.anchored - self.cut_away


def study_attention(
    heads: CompatibilityHeads,
    split: Split,
    categories: Sequence[str],
    anchors: Anchors | None,
    boxes: Boxes,
) -> AttentionStudy:
    """Measure the attention and generic saliency on every view of a split."""
    views, cut_away = find_views(split, categories, anchors or {}, boxes)
    attention = _own_attention(heads, split, views)  # [V, 14, 14]
    saliency = _saliency(views)  # [V, 14, 14]
    by_category = {}
    for row, name in enumerate(categories):
        own = [index for index, view in enumerate(views) if view.category == row]
        if own:
            by_category[name] = figures(
                [views[index] for index in own], attention[own], saliency[own]
            )
    overall = figures(views, attention, saliency)
    return AttentionStudy(overall, by_category, tuple(views), anchors is not None, cut_away)


def read_anchors(pairs: Path) -> Anchors | None:
    """The anchors beside a file of pairs, None where the data has none. Raises DataError."""
    path = pairs.with_name("anchors.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            scene: {category: _box(sides) for category, sides in boxes.items()}
            for scene, boxes in content.items()
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: expected a JSON map of scene to category to [left, top, right, bottom], "
            f"each side in 0 to 1 ({error})"
        ) from error


def _box(sides: Sequence[float]) -> Box:
    box = Box(*map(float, sides))
    if not (0.0 <= box.left < box.right <= 1.0 and 0.0 <= box.top < box.bottom <= 1.0):
        raise ValueError(f"{list(sides)} is no box")
    return box


def find_views(
    split: Split, categories: Sequence[str], anchors: Anchors, boxes: Boxes
) -> tuple[list[View], int]:
    """The views of a split, each once, and how many of them have lost their anchor to the crop."""
    views: dict[tuple[Picture, int], View] = {}
    cut_away = 0
    for pair, row, category in zip(split.pairs, split.scene_rows, split.categories, strict=True):
        picture = scene_picture(split.features.data, pair)
        key = (picture, int(category))
        if key in views:
            continue
        whole = anchors.get(pair.scene, {}).get(categories[category])
        anchor = None if whole is None else inside_crop(whole, pair.crop.box)
        cut_away += whole is not None and anchor is None
        moved = (inside_crop(box, pair.crop.box) for box in boxes.get(pair.scene, ()))
        left = tuple(box for box in moved if box is not None)
        views[key] = View(pair.scene, int(category), int(row), picture, anchor, left)
    return list(views.values()), cut_away


def inside_crop(box: Box, crop: Box) -> Box | None:
    """A box of the whole scene in the crop's coordinates, clipped; None where nothing is left."""
    width, height = crop.right - crop.left, crop.bottom - crop.top
    left, right = (np.clip((x - crop.left) / width, 0.0, 1.0) for x in (box.left, box.right))
    top, bottom = (np.clip((y - crop.top) / height, 0.0, 1.0) for y in (box.top, box.bottom))
    clipped = Box(float(left), float(top), float(right), float(bottom))
    return clipped if clipped.area > 0 else None


@torch.inference_mode()
def attention_maps(
    heads: CompatibilityHeads, split: Split, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The attention of every category in some scenes, by their features' rows, [N, C, 14, 14]."""
    heads.eval()
    maps = []
    for start in range(0, len(rows), _SCENES_AT_ONCE):
        regions = split.features.scenes.regions(rows[start : start + _SCENES_AT_ONCE])
        attention, _ = heads.embed_regions(regions.to(heads.category_embedding.device))  # [B, C, R]
        maps.append(attention.unflatten(2, (REGION_GRID, REGION_GRID)).cpu().numpy())
    return np.concatenate(maps)


def _own_attention(heads: CompatibilityHeads, split: Split, views: Sequence[View]) -> Array:
    """Each view's attention for its own category, [V, 14, 14]."""
    maps = []
    for start in range(0, len(views), _SCENES_AT_ONCE):
        some = views[start : start + _SCENES_AT_ONCE]
        attention = attention_maps(heads, split, np.array([view.row for view in some]))
        maps.append(attention[np.arange(len(some)), [view.category for view in some]])
    own: Array = np.concatenate(maps).astype(np.float64)
    return own


def _saliency(views: Sequence[View]) -> Array:
    """The generic saliency of each view's picture, [V, 14, 14]."""
    maps = {picture: spectral_residual(picture.load()) for picture in {v.picture for v in views}}
    return np.stack([maps[view.picture] for view in views])


def figures(views: Sequence[View], attention: Array, saliency: Array) -> AttentionFigures:
    """The figures of some views, their maps given as [V, 14, 14]."""
    scenes, scene_of = np.unique([view.scene for view in views], return_inverse=True)  # [V]
    weights = scene_weights(len(scenes), RESAMPLES, seed=0)  # [1 + R, S]
    shares = np.array([np.nan if view.anchor is None else view.anchor.area for view in views])

    def mean(values: Array) -> Array:
        return weighted_means(values, scene_of, weights)  # [1 + R]

    def of(maps: Array) -> MapFigures:
        masses = _with_anchors(mass_inside, maps, views)
        means = (
            mean(masses),
            mean(masses) / mean(shares),
            mean(masses / shares),
            mean(_with_anchors(peak_inside, maps, views)),
            mean(np.array([normalized_entropy(each) for each in maps])),
        )
        return MapFigures(*(with_interval(each, len(scenes)) for each in means))

    return AttentionFigures(
        len(views),
        len(scenes),
        int(np.count_nonzero(~np.isnan(shares))),
        with_interval(mean(shares), len(scenes)),
        of(attention),
        of(saliency),
        box_figures([view.boxes for view in views], attention, saliency, mean, len(scenes)),
    )


def _with_anchors(
    measure: Callable[[Array, Box], float], maps: Array, views: Sequence[View]
) -> Array:
    """A measure of each map against its view's anchor, NaN without one, [V]."""
    return np.array(
        [
            np.nan if view.anchor is None else measure(values, view.anchor)
            for values, view in zip(maps, views, strict=True)
        ]
    )


def mass_inside(values: Array, box: Box) -> float:
    """How much of a map lies in a box: a region cut by its edge counts by the part inside."""
    rows = _covered(box.top, box.bottom, values.shape[0])  # [14]
    columns = _covered(box.left, box.right, values.shape[1])  # [14]
    return float(rows @ values @ columns)


def _covered(low: float, high: float, count: int) -> Array:
    """How much of each of `count` equal parts of 0..1 lies between two bounds, each in 0..1."""
    edges = np.arange(count + 1.0)
    lengths = np.minimum(high * count, edges[1:]) - np.maximum(low * count, edges[:-1])
    covered: Array = np.clip(lengths, 0.0, 1.0)
    return covered


def peak_inside(values: Array, box: Box) -> float:
    """1 where the highest point of a map, scaled up as on the photo, lies in a box; or else 0."""
    smooth = Image.fromarray((values / values.max()).astype(np.float32)).resize(
        (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC
    )
    row, column = divmod(int(np.asarray(smooth).argmax()), IMAGE_SIZE)
    x, y = (column + 0.5) / IMAGE_SIZE, (row + 0.5) / IMAGE_SIZE
    return float(box.left <= x <= box.right and box.top <= y <= box.bottom)


def normalized_entropy(values: Array) -> float:
    """The entropy of a map that sums to 1, as a share of an even map's: 0 is a single region."""
    used = values[values > 0]
    return float(-(used * np.log(used)).sum() / np.log(REGIONS))
