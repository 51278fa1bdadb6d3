"""How much of the exact answer an approximate index gives, measured on what it holds."""

import numpy as np
from numpy.typing import NDArray

from completelook.catalog.milvus.collection import Collection
from completelook.catalog.milvus.filters import filter_of
from completelook.catalog.milvus.store import MilvusCatalog

_CATEGORIES = 5
_QUERIES = 20  # of each category


def recall(catalog: MilvusCatalog, *, top: int = 10) -> float:
    """The share of the exact `top` that searches find, in the largest categories.

    A query is halfway between two products, since a scene lies near none. Each category is read
    once. Raises CatalogError.
    """
    counts = catalog.category_counts
    largest = sorted(counts, key=lambda name: counts[name], reverse=True)[:_CATEGORIES]
    collection = catalog.collection
    shares = [_recall_in(collection, name, top) for name in largest]
    return float(np.mean(shares))


def _recall_in(collection: Collection, category: str, top: int) -> float:
    filter_ = filter_of(category, (), collection.description.layout)
    queries: NDArray[np.float32] | None = None
    exact: list[list[tuple[float, str]]] = [[] for _ in range(_QUERIES)]
    for rows in collection.all(filter_, ("id", "embedding")):
        embeddings = np.array([row["embedding"] for row in rows], np.float32)  # [n, 128]
        if queries is None:
            pairs = np.random.default_rng(0).integers(len(rows), size=(2, _QUERIES))
            queries = embeddings[pairs[0]] + embeddings[pairs[1]]  # [q, 128]
        for best, similarities in zip(exact, queries @ embeddings.T, strict=True):
            named = zip(similarities.tolist(), (row["id"] for row in rows), strict=True)
            best[:] = sorted([*best, *named], reverse=True)[:top]
    found = collection.nearest(queries, filter_, top, ())
    hits = [
        len({id_ for _, id_ in best} & {row["id"] for row in rows}) / len(best)
        for best, rows in zip(exact, found, strict=True)
    ]
    return float(np.mean(hits))
