"""Cover: as few spots as can be found such that each of many directions is near to one of them.

The unit vector with the largest sum of products with some unit vectors is their sum, to length 1:
the middle of a group.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A center is moved to the middle of its group so often at most.
_MOVES = 20
# So many of the most alike spots are tried to be one with a spot.
_PARTNERS = 20


@dataclass(frozen=True, eq=False)
class Spot:
    """The middle of a group of directions, and which these are."""

    center: NDArray[np.float64]  # [k], of length 1
    members: tuple[int, ...]  # rising


def cover(directions: NDArray[np.float64], least: float) -> list[Spot]:
    """Spots for directions [n, k], unit vectors, each at one, the spot of most of them first.

    The product of a direction with its spot's center is at least `least`. Greedy: the direction to
    which most of those left are near is taken and moved to their middle while no fewer are near
    there; then the same for the rest. At last spots are made one where all of theirs are near the
    middle of both. Of equals the earliest.
    """
    near = directions @ directions.T >= least  # [n, n]
    np.fill_diagonal(near, True)  # Each is near itself, whatever rounding says.
    left = np.ones(len(directions), np.bool_)  # [n]
    spots = []
    while left.any():
        counts = np.where(left, near[left].sum(axis=0), 0)  # [n]
        best = int(np.argmax(counts))
        center, covered = _moved(directions, directions[best], near[best] & left, left, least)
        spots.append(Spot(center, tuple(np.flatnonzero(covered).tolist())))
        left &= ~covered
    return sorted(_merged(spots, directions, least), key=lambda spot: -len(spot.members))


def _moved(
    directions: NDArray[np.float64],
    center: NDArray[np.float64],
    covered: NDArray[np.bool_],
    left: NDArray[np.bool_],
    least: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A center in the middle of those near to it, where no fewer of those left are near."""
    for _ in range(_MOVES):
        middle = _middle(directions[covered])  # [k]
        near = (directions @ middle >= least) & left  # [n]
        if near.sum() < covered.sum():
            break
        is_settled = bool((near == covered).all())
        center, covered = middle, near
        if is_settled:
            break
    return center, covered


def _merged(spots: list[Spot], directions: NDArray[np.float64], least: float) -> list[Spot]:
    """The spots, two made one where that leaves all of theirs near: each tries those most alike."""
    left = sorted(spots, key=lambda spot: -len(spot.members))
    merged = []
    while left:
        spot = left.pop(0)
        center = spot.center
        for other in sorted(left, key=lambda each: -float(each.center @ center))[:_PARTNERS]:
            members = tuple(sorted((*spot.members, *other.members)))
            own = directions[list(members)]  # [m, k]
            middle = _middle(own)
            if (own @ middle >= least).all():
                spot = Spot(middle, members)
                left.remove(other)
        merged.append(spot)
    return merged


def _middle(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    total = directions.sum(axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12))
