"""The Arrow store: a catalog in one memory-mapped file.

The file is one uncompressed record batch, sorted by category and then by id, so that the embeddings
of a category are one contiguous block of it. The schema's metadata says which weights made them.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.catalog import (
    ROUNDING,
    Catalog,
    CatalogInfo,
    Hits,
    format_model_id,
    require_embeddings,
)
from completelook.catalog.categories import CategoryTable
from completelook.catalog.conditions import Condition, Filter, Where
from completelook.catalog.selection import meeting, selected
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError
from completelook.files import replacing
from completelook.images import is_url
from completelook.products import Product

FORMAT = "1"
FORMAT_KEY = b"completelook.format"
MODEL_ID_KEY = b"completelook.model_id"
CATEGORIES_KEY = b"completelook.categories"

EMBEDDING_TYPE = pa.list_(pa.float32(), EMBEDDING_SIZE)
_TYPES = {
    "id": pa.string(),
    "category": pa.string(),
    "image": pa.string(),
    "embedding": EMBEDDING_TYPE,
}
_ARROW_MAGIC = b"ARROW1"


@dataclass(frozen=True, eq=False)
class _Content:
    """What a catalog's file held when it was opened; its columns stay on disk until touched."""

    folder: Path  # which relative paths of images start from
    identity: tuple[int, int]  # of the file
    table: pa.Table  # id, category, image, the shop's columns, embedding; sorted by category, id
    columns: Mapping[str, Any]  # of the table, all but the embedding, as pyarrow arrays
    embeddings: NDArray[np.float32]  # [N, 128], read-only, not copied
    slices: Mapping[str, slice]  # the rows of each category
    info: CatalogInfo

    @classmethod
    def read(cls, path: Path) -> "_Content":
        """Map a file and check it. Raises CatalogError."""
        identity = _identity(path)  # First, so that a file replaced in between is noticed.
        table = _map(path)
        metadata = table.schema.metadata or {}
        _check(path, table, metadata)
        vectors: Any = table["embedding"].chunk(0)
        embeddings = vectors.flatten().to_numpy(zero_copy_only=True)  # [N * 128]
        names = [name for name in table.column_names if name != "embedding"]
        slices = _slices(path, table)
        return cls(
            folder=path.parent.resolve(),
            identity=identity,
            table=table,
            columns={name: table[name].chunk(0) for name in names},
            embeddings=embeddings.reshape(-1, EMBEDDING_SIZE),  # [N, 128]
            slices=slices,
            info=CatalogInfo(
                location=str(path),
                model_id=int(metadata[MODEL_ID_KEY], base=16),
                categories=CategoryTable(tuple(json.loads(metadata[CATEGORIES_KEY]))),
                category_counts={name: rows.stop - rows.start for name, rows in slices.items()},
                columns=tuple(name for name in names if name not in _TYPES),
            ),
        )

    def product(self, row: int) -> Product:
        """The product of a row, its image a URL or a full path."""
        values = {name: column[row].as_py() for name, column in self.columns.items()}
        image = values.pop("image")
        return Product(
            id=values.pop("id"),
            category=values.pop("category"),
            image=image if is_url(image) else str(self.folder / image),
            columns=values,
        )

    def rows(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The row of each id, -1 where there is none, [n]."""
        import pyarrow.compute as pc  # Half of pyarrow's import time, and not needed to rank.

        wanted: Any = pa.array(list(ids), pa.string())
        found: Any = pc.index_in(wanted, value_set=self.columns["id"])
        rows: NDArray[np.int64] = found.fill_null(-1).to_numpy().astype(np.int64)
        return rows

    def hits(self, rows: NDArray[Any]) -> Hits:
        """The products of some rows."""
        return _Hits(_Products(self, rows), self.embeddings[rows], self.columns, rows)


@dataclass(frozen=True, eq=False)
class _Hits(Hits):
    """Hits whose cells are read a column at a time, no product touched."""

    columns: Mapping[str, Any]
    rows: NDArray[Any]

    def cells(self, column: str) -> Sequence[Any]:
        cells: list[Any] = self.columns[column].take(pa.array(self.rows)).to_pylist()
        return cells


class _Products(Sequence[Product]):
    """The products of some rows, each read when it is asked for: ties can be many."""

    def __init__(self, content: _Content, rows: NDArray[Any]) -> None:
        self._content = content
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Product: ...
    @overload
    def __getitem__(self, index: slice) -> "_Products": ...
    def __getitem__(self, index: int | slice) -> "Product | _Products":
        if isinstance(index, slice):
            return _Products(self._content, self._rows[index])
        return self._content.product(int(self._rows[index]))


class ArrowCatalog(Catalog):
    """A catalog in an Arrow file; may be shared by threads.

    What is changed is written to a new file that takes the old one's place, so that whoever has
    that open keeps it whole.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file that `completelook index` made. Raises CatalogError."""
        self.path = Path(path)
        self._content = _Content.read(self.path)
        self._changing = Lock()

    @property
    def info(self) -> CatalogInfo:
        """What the catalog is of."""
        return self._content.info

    def conditions(self, where: Iterable[Where]) -> tuple[Filter, ...]:
        """See Catalog.conditions; also the type of each column is told to fit or not."""
        parsed = super().conditions(where)
        for condition in parsed:
            if isinstance(condition, Condition):
                meeting(self._content.columns[condition.column].slice(0, 0), condition)
        return parsed

    def _search(
        self, query: NDArray[np.float32], category: str, top: int, where: tuple[Filter, ...]
    ) -> Hits:
        content = self._content
        rows = content.slices[category]
        with np.errstate(invalid="ignore", over="ignore"):  # What is not finite is told below.
            similarities = content.embeddings[rows] @ query  # [n]
            total = float(similarities.sum())
        if not math.isfinite(total):  # One pass shows it; which one it is takes another.
            self._require_finite(content, rows, similarities)
        if not where:
            return content.hits(rows.start + _largest(similarities, top))
        kept = selected(content.columns, rows, where)  # [k]
        return content.hits(rows.start + kept[_largest(similarities[kept], top)])

    def get(self, ids: Sequence[str]) -> Hits:
        """The products of some ids, in their order. Raises CatalogError for an id it lacks."""
        rows = self._content.rows(ids)
        if (rows < 0).any():
            missing = ids[int(np.flatnonzero(rows < 0)[0])]
            raise CatalogError(f"{self.path}: holds no product {missing!r}")
        return self._content.hits(rows)

    def upsert(self, products: Iterable[Product], embeddings: NDArray[np.float32]) -> None:
        """Put products and their embeddings [n, 128] in, in place of those of the same ids.

        Columns that either side lacks are empty there. Raises CatalogError, and then nothing is
        changed.
        """
        products = list(products)
        new = _table(self.path, products)
        with self._changing:
            content = self._current()
            kept = self._without(content, (product.id for product in products))
            old = content.table.select(list(content.columns)).take(kept)
            try:
                table = pa.concat_tables([old, new], promote_options="permissive")
            except pa.ArrowException as error:
                raise CatalogError(f"{self.path}: a column of another type: {error}") from error
            self._replace(table, np.concatenate([content.embeddings[kept], embeddings]))

    def delete(self, ids: Iterable[str]) -> int:
        """Take products out; how many of the ids there were. Raises CatalogError."""
        with self._changing:
            content = self._current()
            kept = self._without(content, ids)
            if not len(kept):
                raise CatalogError(f"{self.path}: would hold no products: delete the file instead")
            gone = len(content.embeddings) - len(kept)
            if gone:
                table = content.table.select(list(content.columns)).take(kept)
                self._replace(table, content.embeddings[kept])
            return gone

    def refresh(self) -> bool:
        """Go over to the file that has taken the place of the one opened. Raises CatalogError."""
        if _identity(self.path) == self._content.identity:
            return False
        self._content = _Content.read(self.path)
        return True

    def _current(self) -> _Content:
        if _identity(self.path) != self._content.identity:
            raise CatalogError(
                f"{self.path}: was replaced since it was opened: open it anew to change it"
            )
        return self._content

    def _without(self, content: _Content, ids: Iterable[str]) -> NDArray[np.int64]:
        """The rows of all products but those of some ids."""
        return np.setdiff1d(np.arange(len(content.embeddings)), content.rows(ids))

    def _replace(self, products: pa.Table, embeddings: NDArray[np.float32]) -> None:
        info = self.info
        names = info.categories.names
        write_catalog(self.path, products, embeddings, model_id=info.model_id, categories=names)
        self._content = _Content.read(self.path)

    def _require_finite(
        self, content: _Content, rows: slice, similarities: NDArray[np.float32]
    ) -> None:
        bad = np.flatnonzero(~np.isfinite(similarities))
        if len(bad):
            product = content.product(rows.start + int(bad[0]))
            raise CatalogError(
                f"{self.path}: the embedding of product {product.id!r} is not finite: "
                "index the products again"
            )


def write_catalog(
    path: str | Path,
    products: pa.Table,
    embeddings: NDArray[np.float32],
    *,
    model_id: int,
    categories: tuple[str, ...],
) -> None:
    """Write a catalog of products (id, image, category, ...) and their embeddings [N, 128].

    An image below the catalog's folder is stored relative to it, so that the folder can be moved
    as a whole; any other by its full path or URL. A catalog that was there stays until the new one
    is whole.

    Raises CatalogError.
    """
    path = Path(path)
    check_replaceable(path)
    require_embeddings(products["id"], embeddings)
    table = _arranged(path, products, embeddings).replace_schema_metadata(
        {
            FORMAT_KEY: FORMAT,
            MODEL_ID_KEY: format_model_id(model_id),
            CATEGORIES_KEY: json.dumps(categories, ensure_ascii=False),
        }
    )
    with writing(path), replacing(path) as beside:
        with pa.OSFile(str(beside), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
            out.write_table(table)
        _Content.read(beside)  # What cannot be opened must not replace what can.


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError into a CatalogError that names the file to be written."""
    try:
        yield
    except OSError as error:
        raise CatalogError(f"{path}: cannot be written: {error}") from error


def check_replaceable(path: Path) -> None:
    """Raises CatalogError when writing a catalog at a path would destroy something else."""
    if path.is_dir():
        raise CatalogError(f"{path}: is a folder, expected the name of a catalog file")
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(len(_ARROW_MAGIC))
    if start not in (b"", _ARROW_MAGIC):
        raise CatalogError(f"{path}: is there already and is not a catalog: give another name")


def _largest(similarities: NDArray[np.float32], top: int) -> NDArray[np.intp]:
    """The places of the `top` largest, and of those that may tie with the last of them, [k].

    The one pass over every product is in float32, where equal vectors at different rows may differ
    in the last bit: what is within rounding of the last place is kept, to be settled exactly.
    """
    if top >= len(similarities):
        return np.arange(len(similarities))
    last = np.partition(similarities, -top)[-top]
    return np.flatnonzero(similarities >= last - ROUNDING)


def _table(path: Path, products: Sequence[Product]) -> pa.Table:
    """Products as a table, the columns that some of them lack empty there."""
    own = dict.fromkeys(name for product in products for name in product.columns)
    if reserved := own.keys() & _TYPES.keys():
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


def _arranged(path: Path, products: pa.Table, embeddings: NDArray[np.float32]) -> pa.Table:
    """The catalog's columns in their order, its rows sorted, each column one block."""
    import pyarrow.compute as pc  # Half of pyarrow's import time, and needed only to write.

    order = pc.sort_indices(products, [("category", "ascending"), ("id", "ascending")])
    products = products.take(order)
    vectors = pa.array(embeddings[order.to_numpy()].reshape(-1), pa.float32())  # [N * 128]
    folder = path.parent.resolve()
    columns: dict[str, Any] = {
        "id": products["id"],
        "category": products["category"],
        "image": pa.array([_stored(folder, str(image)) for image in products["image"]]),
    }
    columns |= {name: products[name] for name in products.column_names if name not in columns}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(vectors, EMBEDDING_SIZE)
    return pa.table(columns).combine_chunks()


def _stored(folder: Path, image: str) -> str:
    if is_url(image) or not Path(image).is_relative_to(folder):
        return image
    return Path(image).relative_to(folder).as_posix()


def _identity(path: Path) -> tuple[int, int]:
    """What a file at a path and another one that takes its place differ in."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _map(path: Path) -> pa.Table:
    mend = f"make one with `completelook index PRODUCTS --catalog {path}`"
    if not path.is_file():
        raise CatalogError(f"{path}: no such catalog: {mend}")
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(f"{path}: not a catalog, or a part of one: {mend}") from error


def _check(path: Path, table: pa.Table, metadata: Mapping[bytes, bytes]) -> None:
    if missing := {FORMAT_KEY, MODEL_ID_KEY, CATEGORIES_KEY} - set(metadata):
        keys = ", ".join(sorted(key.decode() for key in missing))
        raise CatalogError(
            f"{path}: an Arrow file, but not a catalog, its metadata lacks {keys}: "
            "expected a file that `completelook index` wrote"
        )
    if (found := metadata[FORMAT_KEY].decode()) != FORMAT:
        raise CatalogError(
            f"{path}: a catalog of format {found}, expected {FORMAT}: index the products again"
        )
    for name, kind in _TYPES.items():
        if name not in table.column_names or table.schema.field(name).type != kind:
            raise CatalogError(f"{path}: a catalog without its column {name!r} of type {kind}")
    if any(table[name].num_chunks != 1 for name in table.column_names):
        raise CatalogError(f"{path}: a catalog must be one record batch with products in it")


def _slices(path: Path, table: pa.Table) -> dict[str, slice]:
    runs: Any = table["category"].chunk(0).dictionary_encode()
    codes = runs.indices.to_numpy()  # [N], in the order of first appearance
    if (np.diff(codes) < 0).any():
        raise CatalogError(f"{path}: its rows are not sorted by category: index the products again")
    stops = np.bincount(codes).cumsum().tolist()
    starts = [0, *stops[:-1]]
    names = runs.dictionary.to_pylist()
    return {name: slice(*rows) for name, *rows in zip(names, starts, stops, strict=True)}
