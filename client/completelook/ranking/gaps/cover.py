"""Cover: as few points of the style space as can be found that suit as many scenes as can be.

For scenes with queries q_i the unit vector that lies nearest to all of them, on average, is

    f = sum_i q_i / |sum_i q_i|     since     sum_i d(i, f) = sum_i (2 - q_i . f)

is smallest where f points along the sum. A scene alone is suited best by q_i / |q_i|, at a
distance of 2 - |q_i|: where that is too far, no product whatever would do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A center is moved to the middle of the scenes it suits so often at most.
_MOVES = 20

Suits = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Spot:
    """A place in the style space, and the scenes that a product there would suit."""

    center: NDArray[np.float64]  # [128], of length 1
    scenes: tuple[int, ...]  # rising


def reachable(queries: NDArray[np.float64], suits: Suits) -> NDArray[np.bool_]:
    """Which scenes, with queries [n, 128], some product could suit, wherever it lay, [n].

    `suits` tells of distances whether they are near enough.
    """
    return suits(2 - np.linalg.norm(queries, axis=1))


def cover(queries: NDArray[np.float64], suits: Suits) -> list[Spot]:
    """Spots for all scenes that can be reached, each scene at one, the spot for most scenes first.

    Greedy: of the best places for one scene alone, the one that suits most of the scenes that are
    left is taken and moved to their middle while no fewer are suited there; then the same for the
    rest. Of equals the one of the earliest scene.
    """
    left = np.flatnonzero(reachable(queries, suits))  # [k]
    directions = _units(queries[left])  # [k, 128]
    near = suits(2 - queries[left] @ directions.T)  # [k scenes, k places]
    np.fill_diagonal(near, True)  # Each is suited by its own, whatever rounding says.
    remaining = np.ones(len(left), np.bool_)  # [k]
    spots = []
    while remaining.any():
        counts = np.where(remaining, near[remaining].sum(axis=0), 0)  # [k places]
        best = int(np.argmax(counts))
        center, covered = _moved(
            queries[left], directions[best], near[:, best] & remaining, remaining, suits
        )
        spots.append(Spot(center, tuple(int(each) for each in left[covered])))
        remaining &= ~covered
    return sorted(spots, key=lambda spot: -len(spot.scenes))


def _moved(
    queries: NDArray[np.float64],
    center: NDArray[np.float64],
    covered: NDArray[np.bool_],
    remaining: NDArray[np.bool_],
    suits: Suits,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A center in the middle of the scenes it suits, where it suits no fewer of the remaining."""
    for _ in range(_MOVES):
        middle = _units(queries[covered].sum(axis=0, keepdims=True))[0]  # [128]
        suited = suits(2 - queries @ middle) & remaining
        if suited.sum() < covered.sum():
            break
        is_settled = bool((suited == covered).all())
        center, covered = middle, suited
        if is_settled:
            break
    return center, covered


def _units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
