"""Variety: of products that are much alike one is shown, and what follows differs from it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from completelook.errors import UsageError

# Products closer than this, as a squared distance, which may reach 4, are taken for one picture. Of
# 356 products of a shop no two were (the closest 0.015, one in a hundred below 0.03); of the same
# pictures at half the size 79 of 100 are, in JPEG of quality 60 only 27: a product hidden by
# mistake costs more than one that is shown twice.
NEAR_DUPLICATE = 0.01

# How many times more products than are to be shown compete for the places behind the first.
POOL = 10


@dataclass(frozen=True)
class Variety:
    """How products of a category that are alike share its places; without any of it, they do not.

    Raises UsageError for a diversity outside 0..1.
    """

    group_by: str | None = None  # a column: of products with the same value the nearest is shown
    fold_duplicates: bool = False  # whether pictures that are nearly the same are shown once
    diversity: float = 0.0  # from 0, nearest first, to 1, as unlike each other as can be

    def __post_init__(self) -> None:
        # Written so that NaN fails.
        if not 0 <= self.diversity <= 1:
            raise UsageError(f"diversity is {self.diversity}, expected a number from 0 to 1")

    @property
    def folds(self) -> bool:
        """Whether some products stand for others."""
        return self.group_by is not None or self.fold_duplicates

    def pool(self, top: int) -> int:
        """How many of the nearest compete for the `top` places."""
        return POOL * top if self.diversity else top


NO_VARIETY = Variety()


def folded(
    groups: Sequence[Hashable | None], embeddings: NDArray[np.float64], *, duplicates: bool
) -> list[list[int]]:
    """Products that stand for others, each followed by those, by their places.

    They come nearest to the scene first, with embeddings [n, 128]. Each in turn joins the first of
    its group, or else, where `duplicates` are folded, the one it is a near duplicate of; one
    without a group (None) may still do so. So what a product is depends on those before it alone.
    """
    leaders: list[list[int]] = []
    by_group: dict[Hashable, int] = {}
    for place, name in enumerate(groups):
        joined = by_group.get(name) if name is not None else None
        if joined is None and duplicates and leaders:
            joined = _near_duplicate(embeddings, [first for first, *_ in leaders], place)
        if joined is None:
            joined = len(leaders)
            leaders.append([])
        leaders[joined].append(place)
        if name is not None:
            by_group.setdefault(name, joined)
    return leaders


def diversified(
    distances: NDArray[np.float64], embeddings: NDArray[np.float64], *, top: int, diversity: float
) -> list[int]:
    """The places of `top` products by maximal marginal relevance, in their order.

    Of n products with distances [n] to the scene and embeddings [n, 128], each next one is, with
    the diversity t and those chosen so far C,

        argmax_p  (1 - t) (1 - d(s, p) / 2) - t max_{c in C} f_p . f_c

    where both terms lie within -1..1; the first is the nearest, equals come in the given order.
    Carbonell and Goldstein, The Use of MMR, SIGIR 1998, with lambda = 1 - t.
    """
    relevance = (1 - diversity) * (1 - distances / 2)  # [n]
    likeness = np.full(len(distances), -np.inf)  # [n], to the most alike of those chosen
    chosen: list[int] = []
    while len(chosen) < min(top, len(distances)):
        marginal = relevance - diversity * likeness if chosen else -distances  # [n]
        marginal[chosen] = -np.inf
        chosen.append(int(np.argmax(marginal)))
        likeness = np.maximum(likeness, (embeddings * embeddings[chosen[-1]]).sum(axis=1))
    return chosen


def _near_duplicate(
    embeddings: NDArray[np.float64], leaders: Sequence[int], place: int
) -> int | None:
    """Which of the leaders a product is a near duplicate of, the nearest one."""
    squared = np.square(embeddings[leaders] - embeddings[place]).sum(axis=1)  # [leaders]
    nearest = int(np.argmin(squared))
    return nearest if squared[nearest] < NEAR_DUPLICATE else None
