"""Steering: which parts of a scene count, answered from what is known of its regions.

The local distance is a sum over regions, so to leave some out is to give the others their share of
the attention: "what would rank first without the sofa?" takes no other inference. The scene as a
whole, f_s, stays as the model saw it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from completelook.contract import REGION_GRID
from completelook.errors import UsageError
from completelook.triton import SceneEmbedding

Box = tuple[float, float, float, float]  # left, top, right, bottom, as fractions of the photo

# Of the photo: less is what rounding leaves of boxes that cover all of it.
_LEAST_AREA = 1e-9


@dataclass(frozen=True)
class Steering:
    """Parts of a photo that do not count, and, where some are in focus, the only ones that do.

    Raises UsageError for a box that is none, and where nothing is left to look at.
    """

    ignore: Sequence[Box] = ()  # kept as tuples
    focus: Sequence[Box] = ()

    def __post_init__(self) -> None:
        for name in ("ignore", "focus"):
            boxes = tuple(_box(name, each) for each in getattr(self, name))
            object.__setattr__(self, name, boxes)
        if self.shares.mean() < _LEAST_AREA:
            raise UsageError(
                f"nothing of the photo is left to look at: to ignore {_listed(self.ignore)}, in "
                f"focus {_listed(self.focus)}: make a box smaller, or leave one out"
            )

    def __bool__(self) -> bool:
        return bool(self.ignore or self.focus)

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """How much of each region's area counts, in 0..1, [14, 14]."""
        grid = np.arange(REGION_GRID + 1) / REGION_GRID
        boxes = np.array([*self.ignore, *self.focus], np.float64).reshape(-1, 4)
        columns = np.unique([*grid, *boxes[:, [0, 2]].ravel()])  # every edge across, [x + 1]
        rows = np.unique([*grid, *boxes[:, [1, 3]].ravel()])  # and down, [y + 1]
        counts = np.full((len(rows) - 1, len(columns) - 1), not self.focus)  # [y, x]
        for kept, part in ((True, self.focus), (False, self.ignore)):
            for left, top, right, bottom in part:
                across = slice(*np.searchsorted(columns, (left, right)))
                down = slice(*np.searchsorted(rows, (top, bottom)))
                counts[down, across] = kept
        areas = counts * np.outer(np.diff(rows), np.diff(columns))  # [y, x]
        within = np.add.reduceat(areas, np.searchsorted(rows, grid[:-1]), axis=0)  # [14, x]
        within = np.add.reduceat(within, np.searchsorted(columns, grid[:-1]), axis=1)  # [14, 14]
        return np.asarray((within * REGION_GRID**2).clip(0, 1))


NO_STEERING = Steering()


def _box(name: str, given: Iterable[float]) -> Box:
    try:
        left, top, right, bottom = (float(each) for each in given)
        # Written so that NaN fails.
        is_box = 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    except (TypeError, ValueError):
        is_box = False
    if not is_box:
        raise UsageError(
            f"{name}: {_shown(given)} is no box: expected LEFT,TOP,RIGHT,BOTTOM in fractions of "
            "the photo's width and height, as in 0.25,0.5,0.75,1: divide pixels by these"
        )
    return left, top, right, bottom


def _listed(boxes: Sequence[Box]) -> str:
    return " and ".join(map(_shown, boxes)) or "all the rest"


def _shown(given: Any) -> str:
    if not isinstance(given, list | tuple):
        return repr(given)
    return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in given)


def steered(scene: SceneEmbedding, steering: Steering) -> SceneEmbedding:
    """The scene with the attention [C, 14, 14] on what counts alone, each map summing to 1 again.

    A region that a box cuts counts by the share of its area that is left. Where all that is left of
    a map is below what float32 holds, it is taken to be even. The contexts [C, 128] follow.

    Raises UsageError for a scene that was embedded without regions.
    """
    if not steering:
        return scene
    if scene.attention is None or scene.regions is None:
        raise UsageError("a scene is steered by its regions: embed it with regions=True")
    attention = scene.attention * steering.shares  # [C, 14, 14]
    totals = attention.sum(axis=(1, 2), keepdims=True)  # [C, 1, 1]
    is_gone = totals < np.finfo(np.float32).tiny
    attention = np.where(is_gone, steering.shares / steering.shares.sum(), attention)
    attention /= np.where(is_gone, 1.0, totals)
    contexts = attention.reshape(len(attention), -1) @ scene.regions  # [C, 128]
    return replace(
        scene, attention=attention.astype(np.float32), contexts=contexts.astype(np.float32)
    )


def steered_all(scenes: Sequence[SceneEmbedding], steering: Steering) -> list[SceneEmbedding]:
    """What `steered` makes of each."""
    return [steered(scene, steering) for scene in scenes]
