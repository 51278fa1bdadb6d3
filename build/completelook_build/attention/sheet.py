"""The attention study's picture sheet: scenes by categories, beside a generic saliency map."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from completelook.explain import overlay, shrunk
from PIL import Image, ImageDraw

from completelook_build.attention.saliency import spectral_residual
from completelook_build.attention.study import View, attention_maps, normalized_entropy
from completelook_build.data import Box
from completelook_build.evaluation import Array
from completelook_build.features import Split
from completelook_build.heads import CompatibilityHeads
from completelook_build.report import Cell, Grid

_SEED = 0
# More would make the sheet too wide to look at.
_MOST_CATEGORIES = 8
_LONGEST_SIDE = 480
_ANCHOR_COLOR = "#ffffff"


def attention_sheet(
    heads: CompatibilityHeads,
    split: Split,
    categories: Sequence[str],
    views: Sequence[View],
    *,
    scenes: int,
) -> Image.Image:
    """One view of each of some scenes, drawn by lot: the photo, saliency, and every category."""
    chosen = one_of_each_scene(views, scenes)
    shown = frequent_categories(views, _MOST_CATEGORIES)
    maps = attention_maps(heads, split, np.array([view.row for view in chosen]))
    rows = [
        _row(view, own.astype(np.float64), shown) for view, own in zip(chosen, maps, strict=True)
    ]
    present = len({view.category for view in views})
    which = f"the {len(shown)} of {present} categories with most views"
    note = (
        f"{len(chosen)} test scenes without a product, drawn with seed {_SEED}; {which}. In color: "
        "where half of the attention is. Saliency: the spectral residual, which knows no category. "
        "Below each map its entropy as a share of an even map's: 1 looks everywhere alike."
    )
    if any(view.anchor for view in views):
        note += " White: the true anchor of the cropped product's category, whose map is framed."
    names = [categories[row].rpartition("|")[2] for row in shown]
    return Grid("Where the model looks", note, ["scene", "saliency", *names], rows).draw()


def one_of_each_scene(views: Sequence[View], scenes: int) -> list[View]:
    """A random view of each of some random scenes."""
    of_scene: dict[str, list[View]] = {}
    for view in views:
        of_scene.setdefault(view.scene, []).append(view)
    random = np.random.default_rng(_SEED)
    names = sorted(of_scene)
    drawn = random.choice(len(names), min(scenes, len(names)), replace=False)
    return [own[random.integers(len(own))] for own in (of_scene[names[row]] for row in drawn)]


def frequent_categories(views: Sequence[View], most: int) -> list[int]:
    """The categories of most views, in the order of the table."""
    counts = Counter(view.category for view in views)
    return sorted(row for row, _ in counts.most_common(most))


def _row(view: View, maps: Array, shown: Sequence[int]) -> list[Cell]:
    """A view's photo, saliency and attention for the categories shown; maps are [C, 14, 14]."""
    photo = shrunk(view.picture.open(), _LONGEST_SIDE)
    saliency = spectral_residual(view.picture.load())
    cells = [Cell(photo, (view.scene,)), _map_cell(photo, saliency)]
    for row in shown:
        cells.append(_map_cell(photo, maps[row], view.anchor if row == view.category else None))
    return cells


def _map_cell(photo: Image.Image, values: Array, anchor: Box | None = None) -> Cell:
    lit = overlay(photo, values.astype(np.float32))
    if anchor is not None:
        ImageDraw.Draw(lit).rectangle(anchor.pixels(*lit.size), outline=_ANCHOR_COLOR, width=4)
    return Cell(lit, (f"entropy {normalized_entropy(values):.2f}",), marked=anchor is not None)
