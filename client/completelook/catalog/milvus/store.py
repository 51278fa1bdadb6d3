"""The Milvus store: a catalog on as many machines as it takes.

A catalog NAME is an alias of a collection NAME_MODELID: a model's embeddings have a collection of
their own, so that none is ever ranked with another's, whatever this process remembers. Another
model's collection takes the name once it is whole, and the earlier one goes.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from completelook.catalog.catalog import (
    Catalog,
    CatalogInfo,
    Hits,
    format_model_id,
)
from completelook.catalog.conditions import Condition, Filter, Where, is_missing
from completelook.catalog.milvus.address import parse_address
from completelook.catalog.milvus.collection import Collection, Description
from completelook.catalog.milvus.filters import filter_of, has_number, is_compared
from completelook.catalog.milvus.rows import Layout
from completelook.catalog.milvus.server import CollectionMissing, MilvusServer, quoted
from completelook.catalog.selection import expression_meeting, meeting, met_by, require_comparable
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError, ConditionError, ModelMismatch
from completelook.products import Product
from completelook.storage import ROUNDING, require_embeddings

# How long counts, categories and columns are taken to be as they were.
MOST_AGE_S = 30.0
_MOST_HITS = 4096  # of one search; Milvus gives 16384
_SPARE = 16  # hits beyond those asked for, which may tie with the last
_SHOWN = ("id", "category", "image", "cells")


class MilvusCatalog(Catalog):
    """A catalog in Milvus; may be shared by threads.

    What is written is seen by this process at once, by others within a second. Its `info` is at
    most MOST_AGE_S old.
    """

    def __init__(self, location: str) -> None:
        """Open what `completelook index` made. Raises CatalogError, UsageError."""
        self.address = parse_address(location)
        self._server = MilvusServer(self.address)
        self._known: tuple[float, Collection, CatalogInfo]
        self._ask()

    @property
    def info(self) -> CatalogInfo:
        """What the catalog is of."""
        return self._fresh()[1]

    @property
    def collection(self) -> Collection:
        """The collection that the catalog's name means now."""
        return self._fresh()[0]

    def refresh(self) -> bool:
        """See what other writers have changed since. Raises CatalogError."""
        _, collection, info = self._known
        self._ask()
        return (collection.description, info) != (self._known[1].description, self._known[2])

    def conditions(self, where: Iterable[Where]) -> tuple[Filter, ...]:
        """See Catalog.conditions; also the type of each column is told to fit or not."""
        parsed = super().conditions(where)
        nothing = self.collection.description.layout.columns([])
        for condition in parsed:
            if isinstance(condition, Condition):
                meeting(nothing[condition.column], condition)
        return parsed

    def met(self, hits: Hits, where: Sequence[Filter]) -> NDArray[np.bool_]:
        """See Catalog.met; of cells as the columns' types have them."""
        nothing = self.collection.description.layout.columns([])
        kinds = {name: column.type for name, column in nothing.items()}
        return met_by(hits.cells, len(hits.products), where, kinds)

    def get(self, ids: Sequence[str]) -> Hits:
        """The products of some ids, in their order. Raises CatalogError for an id it lacks."""
        collection = self.collection
        rows = collection.of_ids(ids, (*_SHOWN, "embedding"))
        if missing := [each for each in ids if each not in rows]:
            raise CatalogError(f"{self.address}: holds no product {missing[0]!r}")
        return _hits(collection.description.layout, [rows[each] for each in ids])

    def upsert(self, products: Iterable[Product], embeddings: NDArray[np.float32]) -> None:
        """Put products and their embeddings [n, 128] in, in place of those of the same ids.

        Columns that either side lacks are empty there. Raises CatalogError; where that is Milvus
        failing midway, some are in and some not, and the same call again puts all in.
        """
        products = list(products)
        collection = self.collection
        require_embeddings([product.id for product in products], embeddings)
        if len({product.id for product in products}) < len(products):
            raise CatalogError(f"{self.address}: ids must be unique among the products to put in")
        try:
            layout = collection.description.layout.unified(products)
            rows = list(layout.rows(products, embeddings))
        except CatalogError as error:
            raise CatalogError(f"{self.address}: {error}") from error
        collection.note(layout, {product.category for product in products})
        collection.upsert(rows)
        self._ask()

    def delete(self, ids: Iterable[str]) -> int:
        """Take products out; how many of the ids there were. Raises CatalogError."""
        collection = self.collection
        ids = set(ids)
        if len(collection.of_ids(list(ids), ["id"])) == collection.count(""):
            raise CatalogError(
                f"{self.address}: would hold no products: drop the collection "
                f"{collection.name!r} instead"
            )
        gone = collection.delete(ids)
        self._ask()
        return gone

    def _search_many(
        self, queries: NDArray[np.float32], category: str, top: int, where: tuple[Filter, ...]
    ) -> Sequence[Hits]:
        collection = self.collection
        filter_ = filter_of(category, where, collection.description.layout)
        try:
            found = self._nearest(collection, queries, filter_, top, where)
            wanted = list(dict.fromkeys(id_ for ids in found for id_ in ids))
            rows = collection.of_ids(wanted, (*_SHOWN, "embedding"))
        except CollectionMissing as error:
            raise self._replaced(collection) from error
        if not wanted:
            self._require_comparable(collection, where)
        layout = collection.description.layout
        # One that was taken out in between is left out.
        return [_hits(layout, [rows[each] for each in ids if each in rows]) for ids in found]

    def _nearest(
        self,
        collection: Collection,
        queries: NDArray[np.float32],
        filter_: str,
        top: int,
        where: tuple[Filter, ...],
    ) -> list[list[str]]:
        """The ids of each query's `top` nearest that meet the conditions, and of their ties."""
        found: dict[int, list[str]] = {}
        limit = top + _SPARE
        while (unsettled := [each for each in range(len(queries)) if each not in found]) and (
            limit <= _MOST_HITS
        ):
            for some in np.array_split(unsettled, -(-len(unsettled) * limit // _MOST_HITS)):
                fields = _SHOWN if where else ()
                answers = collection.nearest(queries[some], filter_, limit, fields)
                for each, hits in zip(some, answers, strict=True):
                    kept = [hits[place] for place in _meeting(collection, hits, where)]
                    last = kept[top - 1]["similarity"] if len(kept) >= top else -np.inf
                    if len(hits) < limit or hits[-1]["similarity"] < last - ROUNDING:
                        ids = [hit["id"] for hit in kept if hit["similarity"] >= last - ROUNDING]
                        found[int(each)] = sorted(ids)
            limit *= 4
        for each in unsettled:
            found[each] = self._scanned(collection, queries[each], filter_, top, where)
        return [found[each] for each in range(len(queries))]

    def _scanned(
        self,
        collection: Collection,
        query: NDArray[np.float32],
        filter_: str,
        top: int,
        where: tuple[Filter, ...],
    ) -> list[str]:
        """What `_nearest` gives, from every row that passes the filter: for endless ties."""
        found: list[tuple[float, str]] = []
        for rows in collection.all(filter_, (*(_SHOWN if where else ("id",)), "embedding")):
            embeddings = np.array([row["embedding"] for row in rows], np.float32)  # [n, 128]
            similarities = embeddings @ query  # [n]
            found += [
                (float(similarities[place]), rows[place]["id"])
                for place in _meeting(collection, rows, where)
            ]
        best = sorted((similarity for similarity, _ in found), reverse=True)[:top]
        return sorted(id_ for similarity, id_ in found if similarity >= best[-1] - ROUNDING)

    def _require_comparable(self, collection: Collection, where: tuple[Filter, ...]) -> None:
        """Raises ConditionError where a column of texts says nothing to put a `<` to at all."""
        layout = collection.description.layout
        for condition in where:
            if isinstance(condition, Condition) and is_compared(condition):
                # First where Milvus has a number: one cell that says something is enough. Where
                # none does, the first of all cells is named, as by an Arrow file.
                for filter_ in dict.fromkeys((has_number(condition, layout), "")):
                    pages = collection.all(filter_, _SHOWN)
                    columns = (layout.columns(rows)[condition.column] for rows in pages)
                    is_comparable, first = _any_comparable(columns, condition)
                    if is_comparable:
                        break
                else:
                    if first is not None:
                        raise first

    def _fresh(self) -> tuple[Collection, CatalogInfo]:
        read_s, collection, info = self._known
        if time.monotonic() - read_s > MOST_AGE_S:
            return self._ask()
        return collection, info

    def _ask(self) -> tuple[Collection, CatalogInfo]:
        """Ask Milvus what the catalog is of. Raises CatalogError."""
        read_s = time.monotonic()
        try:
            description = Description.read(self._server, self.address, self.address.name)
        except CollectionMissing as error:
            raise CatalogError(
                f"{self.address}: no such catalog, or its first indexing is not through: make it "
                f"with `completelook index PRODUCTS --catalog {self.address}`"
            ) from error
        collection = Collection(self._server, self.address, description)
        names = sorted(description.held)
        with ThreadPoolExecutor(8) as pool:
            counts = pool.map(lambda name: collection.count(f"category == {quoted(name)}"), names)
            held = {name: count for name, count in zip(names, counts, strict=True) if count}
        info = CatalogInfo(
            location=str(self.address),
            model_id=description.model_id,
            categories=description.categories,
            category_counts=held,
            columns=tuple(description.layout.schema.names),
        )
        self._known = read_s, collection, info
        return collection, info

    def _replaced(self, collection: Collection) -> CatalogError:
        before = format_model_id(collection.description.model_id)
        after = format_model_id(self._ask()[1].model_id)
        return ModelMismatch(
            f"{self.address} was made by model {before} and is by now of model {after}: embed the "
            "scene again"
        )


def _hits(layout: Layout, rows: Sequence[dict[str, Any]]) -> Hits:
    embeddings = np.array([row["embedding"] for row in rows], np.float32)
    return Hits(layout.products(rows), embeddings.reshape(len(rows), EMBEDDING_SIZE))


def _any_comparable(
    columns: Iterable[Any], condition: Condition
) -> tuple[bool, ConditionError | None]:
    """Whether a cell can be compared, and else what is to say of the first one that cannot."""
    first: ConditionError | None = None
    for column in columns:
        if all(map(is_missing, column.to_pylist())):
            continue
        try:
            require_comparable(column, condition)
        except ConditionError as error:
            first = first or error
        else:
            return True, None
    return False, first


def _meeting(
    collection: Collection, rows: Sequence[dict[str, Any]], where: tuple[Filter, ...]
) -> list[int]:
    """The places of the rows that meet all conditions, by the code of the Arrow store."""
    if not where:
        return list(range(len(rows)))
    columns = collection.description.layout.columns(rows)
    met = np.ones(len(rows), np.bool_)
    for condition in where:
        if isinstance(condition, Condition):
            met &= meeting(columns[condition.column], condition)
        else:
            met &= expression_meeting(columns, condition)
    return [int(place) for place in np.flatnonzero(met)]
