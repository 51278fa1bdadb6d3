"""Vector engines that run in our process, where they are installed: asked what a catalog is."""

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from completelook import Catalog
from completelook.catalog import WHOLE, write_catalog
from completelook.catalog.milvus import MilvusCatalog, MilvusTarget, filter_of, parse_address
from numpy.typing import NDArray

from completelook_load.catalog.shop import CATEGORIES, MODEL_ID, products, unit_vectors

_PRICE = 500
_TOP = 10

# The ids of the nearest products to a query [128], of the category in a row and below the price.
Engine = Callable[[NDArray[np.float32], int], list[str]]


def compared(
    folder: Path, count: int, rounds: int, milvus: str | None = None
) -> dict[str, list[tuple[float, float]]]:
    """Of each engine, seconds of ours and of it for a search in a category under a price.

    With the address of a catalog to be in Milvus that is the engine, asked as we ask it and bare.
    Raises AssertionError where one does not find the same products.
    """
    table = products(count)
    embeddings = unit_vectors(np.random.default_rng(1), count)
    path = folder / "engines.arrow"
    write_catalog(path, table, embeddings, model_id=MODEL_ID, categories=CATEGORIES)
    catalog = Catalog.open(path)

    ours = _of(catalog)
    if milvus is None:
        engines = dict(_engines(folder, table, embeddings))
    else:
        engines = _milvus(milvus, table, embeddings)
    queries = unit_vectors(np.random.default_rng(2), 20 * rounds)
    return {name: list(_pairs(ours, engine, queries)) for name, engine in engines.items()}


def _of(catalog: Catalog) -> Engine:
    def search(query: NDArray[np.float32], category: int) -> list[str]:
        where = [f"price<{_PRICE}"]
        hits = catalog.search(query, CATEGORIES[category], top=_TOP, where=where)
        order = np.argsort(-(hits.embeddings @ query), kind="stable")[:_TOP]
        return [hits.products[place].id for place in order]

    return search


def _pairs(
    ours: Engine, engine: Engine, queries: NDArray[np.float32]
) -> Iterator[tuple[float, float]]:
    for place, query in enumerate(queries):
        category = place % len(CATEGORIES)
        found, own_s = _timed(ours, query, category)
        expected, other_s = _timed(engine, query, category)
        if {*found} != {*expected}:  # Two that are a rounding apart may change places.
            raise AssertionError(f"{found} is not what the engine finds, {expected}")
        if place >= len(CATEGORIES):  # The first of each category warms both.
            yield own_s, other_s


def _timed(engine: Engine, query: NDArray[np.float32], category: int) -> tuple[list[str], float]:
    started_s = time.perf_counter()
    found = engine(query, category)
    return found, time.perf_counter() - started_s


def _engines(
    folder: Path, table: pa.Table, embeddings: NDArray[np.float32]
) -> Iterator[tuple[str, Engine]]:
    if find_spec("faiss"):
        yield "FAISS flat", _faiss(table, embeddings)
    if find_spec("lancedb"):
        yield "LanceDB flat", _lancedb(folder, table, embeddings)


def _faiss(table: pa.Table, embeddings: NDArray[np.float32]) -> Engine:
    import faiss

    index: Any = faiss.IndexFlatIP(embeddings.shape[1])
    parameters: Any = faiss.SearchParameters
    index.add(embeddings)
    ids = table["id"].to_pylist()
    prices = table["price"].to_numpy()
    category_of = np.arange(len(ids)) % len(CATEGORIES)

    def search(query: NDArray[np.float32], category: int) -> list[str]:
        rows = np.flatnonzero((category_of == category) & (prices < _PRICE))
        chosen = parameters(sel=faiss.IDSelectorBatch(rows))
        _, found = index.search(query[np.newaxis], _TOP, params=chosen)
        return [str(ids[row]) for row in found[0]]

    return search


def _lancedb(folder: Path, table: pa.Table, embeddings: NDArray[np.float32]) -> Engine:
    import lancedb

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), 128)
    stored = lancedb.connect(folder / "lance").create_table(
        "products", table.append_column("vector", vectors)
    )

    def search(query: NDArray[np.float32], category: int) -> list[str]:
        where = f"category = '{CATEGORIES[category]}' AND price < {_PRICE}"
        asked: Any = stored.search(query)
        asked = asked.distance_type("dot").where(where, prefilter=True)
        return [str(each) for each in asked.limit(_TOP).to_arrow()["id"].to_pylist()]

    return search


def _milvus(location: str, table: pa.Table, embeddings: NDArray[np.float32]) -> dict[str, Engine]:
    """Our catalog in Milvus, and a bare search of the same collection under the same filter."""
    target = MilvusTarget(parse_address(location), WHOLE)
    target.write(table, embeddings.__getitem__, model_id=MODEL_ID, categories=CATEGORIES)
    catalog = MilvusCatalog(location)
    collection = catalog.collection
    where = catalog.conditions([f"price<{_PRICE}"])

    def search(query: NDArray[np.float32], category: int) -> list[str]:
        filter_ = filter_of(CATEGORIES[category], where, collection.description.layout)
        (hits,) = collection.nearest(query[np.newaxis], filter_, _TOP, ())
        return [str(hit["id"]) for hit in hits]

    return {"Milvus FLAT, through our catalog": _of(catalog), "Milvus FLAT": search}
