"""The Arrow store: a catalog in one memory-mapped file, see `completelook.storage`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.catalog import Catalog, CatalogInfo, Hits, Survey, format_model_id
from completelook.catalog.categories import CategoryTable
from completelook.catalog.conditions import Condition, Filter, Where
from completelook.catalog.selection import meeting, met_by, selected
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError
from completelook.images import is_url
from completelook.products import Product
from completelook.storage import (
    RESERVED,
    ROUNDING,
    Content,
    Embeddings,
    changing,
    check_replaceable,
    identity,
    largest,
    nearest_rows,
    products_with,
    require_embeddings,
    write_file,
)

_FORMAT = "2"
_FORMAT_KEY = b"completelook.format"
_MODEL_ID_KEY = b"completelook.model_id"
_CATEGORIES_KEY = b"completelook.categories"


@dataclass(frozen=True, eq=False)
class _Hits(Hits):
    """Hits whose cells are read a column at a time, no product touched."""

    content: Content
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, content: Content, rows: NDArray[np.int64]) -> Self:
        """Those in some rows."""
        return cls.of_each(content, [rows])[0]

    @classmethod
    def of_each(cls, content: Content, parts: Sequence[NDArray[np.int64]]) -> list[Self]:
        """Those in some rows, part by part; what the parts need is read at once."""
        embeddings = content.embeddings(np.concatenate(parts))
        ends = accumulate(map(len, parts))
        return [
            cls(products, embeddings[end - len(rows) : end], content, rows)
            for products, rows, end in zip(content.products(parts), parts, ends, strict=True)
        ]

    def cells(self, column: str) -> Sequence[Any]:
        return self.content.cells(column, self.rows)


class _Survey(Survey):
    """A survey in one pass over the embeddings: every product's similarity is kept."""

    def __init__(
        self,
        catalog: "ArrowCatalog",
        queries: NDArray[np.float32],
        category: str,
        where: tuple[Filter, ...],
    ) -> None:
        super().__init__(catalog, queries, category, where)
        content = self._content = catalog.content
        content.file.require_unchanged()
        rows = content.slices[category]
        self._rows = np.arange(rows.start, rows.stop)  # [n]
        if where:
            self._rows = self._rows[selected(content, rows, where)]
            pieces: Iterable[NDArray[np.float32]] = [content.embeddings(self._rows)]
        else:
            pieces = (vectors for _, vectors in content.vectors(rows))
        self._similarities = products_with(pieces, queries)  # [q, n]
        content.file.require_unchanged()
        self._places: dict[tuple[Filter, ...], NDArray[np.intp]] = {}

    def nearest(self, query: int, top: int, also: tuple[Filter, ...] = ()) -> Hits:
        similarities = self._similarities[query]  # [n]
        if not also:
            return _Hits.of(self._content, self._rows[largest(similarities, top)])
        places = self._meeting(also)  # [k]
        return _Hits.of(self._content, self._rows[places[largest(similarities[places], top)]])

    def nearer(self, query: int, similarity: float) -> tuple[int, Hits]:
        similarities = self._similarities[query]  # [n]
        surely = int(np.count_nonzero(similarities > similarity + ROUNDING))
        unsure = np.flatnonzero(np.abs(similarities - similarity) <= ROUNDING)
        return surely, _Hits.of(self._content, self._rows[unsure])

    def _meeting(self, also: tuple[Filter, ...]) -> NDArray[np.intp]:
        """The places of the products that meet more conditions, worked out once."""
        if also not in self._places:
            rows = self._content.slices[self.category]
            met = rows.start + selected(self._content, rows, also)
            self._places[also] = np.flatnonzero(np.isin(self._rows, met, assume_unique=True))
        return self._places[also]


class ArrowCatalog(Catalog):
    """A catalog in an Arrow file; may be shared by threads.

    What is changed is written to a new file that takes the old one's place, so that whoever has
    that open keeps it whole.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file that `completelook index` made. Raises CatalogError."""
        self.path = Path(path)
        self._read()

    def _read(self) -> None:
        content = Content(self.path)
        metadata = content.schema.metadata or {}
        if (found := metadata.get(_FORMAT_KEY, b"none").decode()) != _FORMAT:
            raise CatalogError(
                f"{self.path}: a catalog of format {found}, expected {_FORMAT}: index the "
                "products again"
            )
        self._info = CatalogInfo(
            location=str(self.path),
            model_id=int(metadata[_MODEL_ID_KEY], base=16),
            categories=CategoryTable(tuple(json.loads(metadata[_CATEGORIES_KEY]))),
            category_counts={name: rows.stop - rows.start for name, rows in content.slices.items()},
            columns=tuple(name for name in content.schema.names if name not in RESERVED),
            digest_of_content=lambda: content.file.digest,
        )
        self._content = content

    @property
    def info(self) -> CatalogInfo:
        """What the catalog is of."""
        return self._info

    @property
    def content(self) -> Content:
        """What is in the file."""
        return self._content

    def conditions(self, where: Iterable[Where]) -> tuple[Filter, ...]:
        """See Catalog.conditions; also the type of each column is told to fit or not."""
        parsed = super().conditions(where)
        for condition in parsed:
            if isinstance(condition, Condition):
                kind = self._content.schema.field(condition.column).type
                meeting(pa.nulls(0, kind), condition)
        return parsed

    def _search_many(
        self, queries: NDArray[np.float32], category: str, top: int, where: tuple[Filter, ...]
    ) -> Sequence[Hits]:
        content = self._content
        # Before, so that a file that has become shorter is not read beyond its end; and after.
        content.file.require_unchanged()
        rows = content.slices[category]
        if where:
            kept = rows.start + selected(content, rows, where)  # [k]
            places = nearest_rows([(0, content.embeddings(kept))], queries, top)
            found = [kept[place] for place in places]
        else:
            found = nearest_rows(content.vectors(rows), queries, top)
        hits = _Hits.of_each(content, found)
        content.file.require_unchanged()
        return hits

    def survey(
        self,
        queries: NDArray[np.float32],
        category: str,
        *,
        where: Iterable[Where] = (),
    ) -> Survey:
        """See Catalog.survey; all is computed here, in one pass."""
        self.require_category(category)
        return _Survey(self, queries, category, self.conditions(where))

    def met(self, hits: Hits, where: Sequence[Filter]) -> NDArray[np.bool_]:
        """See Catalog.met; of cells as the columns' types have them."""
        schema = self._content.schema
        kinds = {name: schema.field(name).type for name in schema.names if name != "embedding"}
        return met_by(hits.cells, len(hits.products), where, kinds)

    def get(self, ids: Sequence[str]) -> Hits:
        """The products of some ids, in their order. Raises CatalogError for an id it lacks."""
        content = self._content
        content.file.require_unchanged()
        rows = content.rows_of(ids)
        if (rows < 0).any():
            missing = ids[int(np.flatnonzero(rows < 0)[0])]
            raise CatalogError(f"{self.path}: holds no product {missing!r}")
        hits = _Hits.of(content, rows)
        content.file.require_unchanged()
        return hits

    def validate(self) -> None:
        """Read the whole file and check it. Raises CatalogError for damage wherever it is."""
        self._content.validate()

    def refresh(self) -> bool:
        """Go over to the file that has taken the place of the one opened. Raises CatalogError."""
        if identity(self.path) == self._content.identity:
            return False
        self._read()
        return True

    def upsert(self, products: Iterable[Product], embeddings: NDArray[np.float32]) -> None:
        """Put products and their embeddings [n, 128] in, in place of those of the same ids.

        Columns that either side lacks are empty there. Raises CatalogError, and then nothing is
        changed.
        """
        products = list(products)
        new = _table(self.path, products)
        require_embeddings(new["id"], embeddings)
        with changing(self.path):
            self.upsert_table(new, embeddings.__getitem__)

    def upsert_table(self, new: pa.Table, embeddings: Embeddings) -> None:
        """`upsert` of a table, for who is `changing` the catalog. Raises CatalogError."""
        content = self._current()
        kept = self._without(content, new["id"])
        self._replace(self._joined(content.table().take(kept), new), kept, embeddings)

    def with_all(self, new: pa.Table) -> pa.Table:
        """A table of products and those it holds beside them, images URLs or full paths.

        Raises CatalogError where a column is of another type.
        """
        content = self._content
        table = content.table().take(self._without(content, new["id"]))
        stored: list[Any] = table["image"].to_pylist()
        images = [each if is_url(each) else str(content.folder / each) for each in stored]
        place = table.column_names.index("image")
        return self._joined(new, table.set_column(place, "image", pa.array(images, pa.string())))

    def _joined(self, *tables: pa.Table) -> pa.Table:
        try:
            return pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise CatalogError(f"{self.path}: a column of another type: {error}") from error

    def delete(self, ids: Iterable[str]) -> int:
        """Take products out; how many of the ids there were. Raises CatalogError."""
        with changing(self.path):
            content = self._current()
            kept = self._without(content, ids)
            if not len(kept):
                raise CatalogError(f"{self.path}: would hold no products: delete the file instead")
            gone = content.rows - len(kept)
            if gone:
                none = np.empty((0, EMBEDDING_SIZE), np.float32)
                self._replace(content.table().take(kept), kept, none.__getitem__)
            return gone

    def _current(self) -> Content:
        if identity(self.path) != self._content.identity:
            raise CatalogError(
                f"{self.path}: was replaced since it was opened: open it anew to change it"
            )
        return self._content

    def _without(self, content: Content, ids: Any) -> NDArray[np.int64]:
        """The rows of all products but those of some ids."""
        return np.setdiff1d(np.arange(content.rows), content.rows_of(ids))

    def _replace(self, products: pa.Table, kept: NDArray[np.int64], new: Embeddings) -> None:
        content = self._content

        def embeddings(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            vectors = np.empty((len(rows), EMBEDDING_SIZE), np.float32)  # [n, 128]
            is_old = rows < len(kept)
            vectors[is_old] = content.embeddings(kept[rows[is_old]])
            vectors[~is_old] = new(rows[~is_old] - len(kept))
            return vectors

        write_products(
            self.path,
            products,
            embeddings,
            model_id=self.model_id,
            categories=self.categories.names,
            half=content.is_half,
        )
        self._read()


def write_catalog(
    path: str | Path,
    products: pa.Table,
    embeddings: NDArray[np.float32],
    *,
    model_id: int,
    categories: tuple[str, ...],
    half: bool = False,
) -> None:
    """Write a catalog of products (id, image, category, ...) and their embeddings [N, 128].

    An image below the catalog's folder is stored relative to it, so that the folder can be moved
    as a whole; any other by its full path or URL. A catalog that was there stays until the new one
    is whole. With `half`, embeddings are stored in half precision: half the file, a slower search.

    Raises CatalogError.
    """
    path = Path(path)
    check_replaceable(path)
    if len(embeddings) != len(products):
        require_embeddings(products["id"], embeddings)
    take = embeddings.__getitem__
    with changing(path):
        write_products(path, products, take, model_id=model_id, categories=categories, half=half)


def write_products(
    path: Path,
    products: pa.Table,
    embeddings: Embeddings,
    *,
    model_id: int,
    categories: tuple[str, ...],
    half: bool = False,
) -> None:
    """`write_catalog` with embeddings asked for as they are written, for who is `changing` it."""
    write_file(
        path,
        products,
        embeddings,
        file_metadata(model_id, categories),
        half=half,
    )


def file_metadata(model_id: int, categories: tuple[str, ...]) -> dict[Any, Any]:
    """What a catalog's file says of itself."""
    return {
        _FORMAT_KEY: _FORMAT,
        _MODEL_ID_KEY: format_model_id(model_id),
        _CATEGORIES_KEY: json.dumps(categories, ensure_ascii=False),
    }


def _table(path: Path, products: Sequence[Product]) -> pa.Table:
    """Products as a table, the columns that some of them lack empty there."""
    own = dict.fromkeys(name for product in products for name in product.columns)
    if reserved := own.keys() & {*RESERVED}:
        raise CatalogError(f"{path}: {sorted(reserved)} cannot be columns of the shop's own")
    ids = [product.id for product in products]
    if len(set(ids)) < len(ids):
        raise CatalogError(f"{path}: ids must be unique among the products to put in")
    columns: dict[str, Any] = {
        name: pa.array([getattr(product, name) for product in products], pa.string())
        for name in ("id", "category", "image")
    }
    try:
        columns |= {
            name: pa.array([product.columns.get(name) for product in products]) for name in own
        }
    except pa.ArrowException as error:
        raise CatalogError(f"{path}: a column of values of several types: {error}") from error
    return pa.table(columns)
