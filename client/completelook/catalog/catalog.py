"""The catalog: products and their embeddings, in whatever store holds them.

Ranking, explanations and the command line know this interface alone. A store tells its `info` and
does `search`, `get`, `upsert` and `delete`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from completelook.catalog.categories import CategoryTable
from completelook.catalog.conditions import (
    Filter,
    Where,
    conditions_only,
    parse_condition,
    require_columns,
)
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError, CategoryError, ModelMismatch, UsageError
from completelook.images import ImageSource
from completelook.products import Product

# The columns that name a product to a person, the best first; shops write them in any case.
_NAME_COLUMNS = ("name", "title")


def format_model_id(model_id: int) -> str:
    """A MODEL_ID as it is stored and shown: 16 hexadecimal digits."""
    return f"{model_id:016x}"


def name_column(columns: Iterable[str]) -> str | None:
    """The one of a shop's columns that names a product to a person, if there is one."""
    by_name = {column.casefold(): column for column in reversed([*columns])}
    return next((by_name[name] for name in _NAME_COLUMNS if name in by_name), None)


# Arrays have no one truth value, so these compare by identity.
@dataclass(frozen=True, eq=False)
class Hits:
    """Products that a catalog holds, and the embedding of each."""

    products: Sequence[Product]  # n; a store may read each when it is asked for
    embeddings: NDArray[np.float32]  # [n, 128]

    def cells(self, column: str) -> Sequence[Any]:
        """What the products have in a column, n; None where they have nothing."""
        if column in ("id", "category", "image"):
            return [getattr(product, column) for product in self.products]
        return [product.columns.get(column) for product in self.products]


@dataclass(frozen=True)
class CatalogInfo:
    """What a catalog is of."""

    location: str
    model_id: int  # of the weights that made the embeddings
    categories: CategoryTable  # the model's; products may be of others
    category_counts: Mapping[str, int]  # products of each category held
    columns: tuple[str, ...]  # the shop's own, beside id, category and image
    # Worked out when it is asked for: it takes longer than all of opening a large catalog.
    digest_of_content: Callable[[], str | None] = field(default=lambda: None, repr=False)

    @property
    def digest(self) -> str | None:
        """Of all its content, where the store has one."""
        return self.digest_of_content()


class Survey:
    """A category's products that meet conditions, as queries [q, 128] see them, asked repeatedly.

    This one asks the store each time; one that keeps what it has computed answers faster.
    """

    def __init__(
        self,
        catalog: "Catalog",
        queries: NDArray[np.float32],
        category: str,
        where: tuple[Filter, ...],
    ) -> None:
        self.catalog = catalog
        self.queries = queries
        self.category = category
        self.where = where

    def nearest(self, query: int, top: int, also: tuple[Filter, ...] = ()) -> Hits:
        """What `Catalog.search` finds for a query, of the products that meet more conditions."""
        one = self.queries[query : query + 1]  # [1, 128]
        where = (*self.where, *also)
        return self.catalog.search_many(one, self.category, top=top, where=where)[0]

    def nearer(self, query: int, similarity: float) -> tuple[int, Hits] | None:  # noqa: ARG002
        """How many products are surely nearer to a query, and those whose order rounding decides.

        None where only a look at each product could tell.
        """
        return None


class Catalog(ABC):
    """Products and their embeddings; `Catalog.open` finds the store that holds them."""

    @staticmethod
    def open(location: str | Path) -> "Catalog":
        """A catalog that `completelook index` made: a file, or `milvus://HOST:PORT/NAME`.

        Raises CatalogError, and UsageError for an address that is none.
        """
        # Stores build on this module.
        from completelook.catalog.arrow import ArrowCatalog
        from completelook.catalog.milvus import MilvusCatalog, is_milvus

        if is_milvus(location):
            return MilvusCatalog(str(location))
        return ArrowCatalog(location)

    @property
    @abstractmethod
    def info(self) -> CatalogInfo:
        """What the catalog is of."""

    @abstractmethod
    def get(self, ids: Sequence[str]) -> Hits:
        """The products of some ids, in their order. Raises CatalogError for an id it lacks."""

    @abstractmethod
    def upsert(self, products: Iterable[Product], embeddings: NDArray[np.float32]) -> None:
        """Put products and their embeddings [n, 128] in, in place of those of the same ids.

        Raises CatalogError, and then nothing is changed.
        """

    @abstractmethod
    def delete(self, ids: Iterable[str]) -> int:
        """Take products out; how many of the ids there were. Raises CatalogError."""

    @abstractmethod
    def _search_many(
        self, queries: NDArray[np.float32], category: str, top: int, where: tuple[Filter, ...]
    ) -> Sequence[Hits]:
        """`search_many` with arguments that make sense, conditions no longer as texts."""

    def search(
        self,
        query: NDArray[np.float32],
        category: str,
        *,
        top: int,
        where: Iterable[Where] = (),
    ) -> Hits:
        """The `top` products of a category whose inner product with a query [128] is largest.

        The category is given by its full name. With those that may tie with the last within
        rounding, to be settled by the caller; in the order of their ids. Of the products that meet
        all conditions, see `conditions`, exactly; these may be none.

        Raises UsageError, CategoryError where the catalog holds none of the category,
        ConditionError, and CatalogError where it is damaged.
        """
        return self.search_many(query[np.newaxis], category, top=top, where=where)[0]

    def conditions(self, where: Iterable[Where]) -> tuple[Filter, ...]:
        """Conditions on products, those given as texts parsed, `price<50` and the like.

        Raises ConditionError for a text that is none and for a column that the catalog lacks.
        """
        parsed = tuple(parse_condition(each) if isinstance(each, str) else each for each in where)
        info = self.info
        require_columns(parsed, ("id", "category", *info.columns), info.location)
        return parsed

    def search_many(
        self,
        queries: NDArray[np.float32],
        category: str,
        *,
        top: int,
        where: Iterable[Where] = (),
    ) -> Sequence[Hits]:
        """What `search` finds for each of some queries [n, 128], faster than one by one."""
        if top < 1:
            raise UsageError(f"top is {top}, expected at least 1")
        if queries.shape[1:] != (EMBEDDING_SIZE,) or not np.isfinite(queries).all():
            raise UsageError(f"each query must be {EMBEDDING_SIZE} finite numbers")
        self.require_category(category)
        filters = self.conditions(where)
        return self._search_many(queries, category, top, filters) if len(queries) else []

    def survey(
        self,
        queries: NDArray[np.float32],
        category: str,
        *,
        where: Iterable[Where] = (),
    ) -> Survey:
        """A category to ask about repeatedly. Raises what `search` raises, then or when asked."""
        return Survey(self, queries, category, self.conditions(where))

    def met(self, hits: Hits, where: Sequence[Filter]) -> NDArray[np.bool_]:
        """Which conditions each of some products meets, [n, conditions]. Raises ConditionError."""
        conditions = conditions_only(where, self.info.location)
        found = np.zeros((len(hits.products), len(conditions)), np.bool_)
        for place, condition in enumerate(conditions):
            found[:, place] = [condition.matches(cell) for cell in hits.cells(condition.column)]
        return found

    def refresh(self) -> bool:
        """See what other writers have changed since; whether there was anything.

        Until then a store may answer from what it held when it was opened. Raises CatalogError.
        """
        return False

    def __len__(self) -> int:
        return sum(self.category_counts.values())

    @property
    def model_id(self) -> int:
        """The id of the weights that made the embeddings."""
        return self.info.model_id

    @property
    def categories(self) -> CategoryTable:
        """The categories of the model that made the embeddings."""
        return self.info.categories

    @property
    def category_counts(self) -> Mapping[str, int]:
        """How many products of each category it holds."""
        return self.info.category_counts

    def require_category(self, name: str) -> None:
        """Raises CategoryError unless it holds products of a category, listing what it holds."""
        counts = self.category_counts
        if name not in counts:
            held = ", ".join(repr(each) for each in counts)
            raise CategoryError(
                f"{self.info.location} holds no products of {name!r}: it holds {held}"
            )

    def require_model(self, model_id: int, server: str) -> None:
        """Raises ModelMismatch unless it was made by the model that `server` runs."""
        info = self.info
        if model_id != info.model_id:
            raise ModelMismatch(
                f"{info.location} was made by model {format_model_id(info.model_id)}, "
                f"but {server} runs {format_model_id(model_id)}: make it anew with "
                f"`completelook index PRODUCTS --catalog {info.location} --server {server}`"
            )

    def columns_to_show(self, wanted: Sequence[str] = ()) -> tuple[str, ...]:
        """The column that names a product, where there is one, then the wanted ones.

        Raises CatalogError for a wanted one that the catalog lacks, listing what it has.
        """
        info = self.info
        for name in wanted:
            if name not in info.columns:
                known = ", ".join(repr(each) for each in info.columns) or "no column of the shop's"
                raise CatalogError(f"{info.location}: no column {name!r}: it has {known}")
        own = name_column(info.columns)
        return tuple(dict.fromkeys([*([] if own is None else [own]), *wanted]))


class Embedding(Protocol):
    """What the server says of one product."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The product's place in the style space, [128]."""

    @property
    def model_id(self) -> int:
        """Which weights made it."""


class Embedder(Protocol):
    """The part of CompleteLook that indexing needs."""

    def categories(self) -> tuple[str, ...]:
        """The model's category names."""

    def embed_product(self, source: ImageSource, /) -> Embedding:
        """Raises ImageError, ServerError."""
