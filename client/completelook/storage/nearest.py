"""The nearest products of queries: one matrix product, of which the top-K looks at few numbers.

Exact. Of the first rows, and again wherever too many pass, the largest of every so many numbers is
taken in one pass; the K-th largest of these is no more than the K-th largest of all, so only what
reaches it can be among the K.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray

# Far above float32's rounding of a sum of 128 products, far below any difference that matters.
ROUNDING = 1e-5

_LANES = 64  # numbers of which the largest is taken
_MOST_PASSING = 8  # times as many as are wanted, before it is worth to ask for more of a row
_ROWS_FOR_ONE_THREAD = 10_000
_TILE = 1 << 20  # numbers of a product that stay in the cache until they are looked at


def nearest_rows(
    pieces: Iterable[tuple[int, NDArray[np.float32]]], queries: NDArray[np.float32], top: int
) -> list[NDArray[np.int64]]:
    """The rows whose products with each query [q, 128] are largest, rising.

    Pieces are the number of their first row and vectors [n, 128]. The `top` largest come with
    those that may tie with the last of them: float32 rounds equal vectors at different rows
    differently, so what is within ROUNDING is kept, to be settled exactly.
    """
    found = _Found(len(queries), top)
    tile = max(1024, _TILE // len(queries))
    # Used again and again: the system takes longer to give memory than the product to fill it.
    space = np.empty(len(queries) * tile if len(queries) > 1 else 0, np.float32)
    for first, vectors in pieces:
        if len(queries) == 1:
            # Threads are no faster on few rows, and where a core is busy they wait for it.
            is_small = len(vectors) <= _ROWS_FOR_ONE_THREAD
            multiply = partial(np.einsum, "ij,j->i") if is_small else np.matmul
            found.add(first, multiply(vectors, queries[0])[np.newaxis])  # [1, n]
            continue
        for start in range(0, len(vectors), tile):
            part = vectors[start : start + tile]  # [t, 128]
            products = space[: len(queries) * len(part)].reshape(len(queries), -1)  # [q, t]
            found.add(first + start, np.matmul(queries, part.T, out=products))
    return found.rows()


def products_with(
    pieces: Iterable[NDArray[np.float32]], queries: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The products of vectors, in pieces [n, 128], with each query [q, 128], all kept: [q, n]."""
    empty = np.empty((len(queries), 0), np.float32)
    return np.concatenate([empty, *(queries @ vectors.T for vectors in pieces)], axis=1)


def largest(products: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """The places of the `top` largest of some products [n] and of their ties, as `nearest_rows`."""
    found = _Found(1, top)
    found.add(0, products[np.newaxis])
    return found.rows()[0]


class _Found:
    """Candidates for the top of each query, among the rows seen so far."""

    def __init__(self, queries: int, top: int) -> None:
        self._top = top
        self._most = _MOST_PASSING * queries * top
        # [q, 1], what the K-th reaches for sure, less what rounding may take from one.
        self._least = np.full((queries, 1), -np.inf, np.float32)
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        self._passing = np.empty((queries, 0), np.bool_)  # whether each product seen last does

    def add(self, first: int, products: NDArray[np.float32]) -> None:
        """Products [q, n] of the rows from `first` on."""
        if not self._parts:
            self._raise(products)
        if self._passing.shape != products.shape:
            self._passing = np.empty(products.shape, np.bool_)
        passing = np.greater_equal(products, self._least, out=self._passing)  # [q, n]
        if self._parts and np.count_nonzero(passing) > self._most:
            self._raise(products)
            passing = np.greater_equal(products, self._least, out=self._passing)
        (places,) = passing.ravel().nonzero()
        if len(products) == 1:
            query, row = np.zeros_like(places), places
        else:
            query, row = np.divmod(places, products.shape[1])
        self._parts.append((query, row + first, products.reshape(-1)[places]))

    def _raise(self, products: NDArray[np.float32]) -> None:
        """Ask for as much as the K-th largest of products [q, n] reaches, or nearly so much."""
        queries, count = products.shape
        lanes = min(_LANES, count // (4 * self._top))
        heads = products  # [q, m], each the largest of some
        if lanes > 1:
            width = count // lanes
            heads = products[:, : lanes * width].reshape(queries, lanes, width).max(axis=1)
        place = heads.shape[1] - self._top
        if place >= 0:
            reached = np.partition(heads, place, axis=1)[:, [place]] - ROUNDING  # [q, 1]
            np.maximum(self._least, reached, out=self._least)

    def rows(self) -> list[NDArray[np.int64]]:
        """The rows of each query's top, and of those that may tie with the last."""
        queries, rows, products = (
            np.concatenate(part) if len(part) > 1 else part[0]
            for part in zip(*self._parts, strict=True)
        )
        if len(self._least) == 1:
            return [rows[self._is_top(products)]]
        order = np.argsort(queries, kind="stable")  # by query, their rows rising as they came
        ends = np.searchsorted(queries[order], np.arange(1, len(self._least)))
        return [rows[own][self._is_top(products[own])] for own in np.split(order, ends)]

    def _is_top(self, products: NDArray[np.float32]) -> NDArray[np.bool_]:
        place = max(0, len(products) - self._top)
        if not place:
            return np.ones(len(products), np.bool_)
        is_top: NDArray[np.bool_] = products >= np.partition(products, place)[place] - ROUNDING
        return is_top
