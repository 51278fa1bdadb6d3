"""What a file of products holds: its columns stay on disk until touched, and are checked then."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError
from completelook.images import is_url
from completelook.products import Product, order_of
from completelook.storage.seal import SealedFile

_FEW = 100  # rows whose products are read at once, and their cells one by one
# Of a squared length: half precision, of a model or of a file, strays by less.
UNIT_TOLERANCE = 2e-2
# The columns of every catalog; the shop's own stand before the embedding.
_NAMING = ("id", "category", "image")
RESERVED = (*_NAMING, "embedding")


@dataclass(frozen=True)
class Directory:
    """Where what is, for the end of the file: with it no column has to be read to open it."""

    rows: int
    batches: Sequence[tuple[int, int]]  # of each record batch its first row, and where it begins
    categories: Sequence[tuple[str, int]]  # the categories held, and the first row of each

    def slices(self) -> dict[str, slice]:
        """The rows of each category."""
        stops = [first for _, first in self.categories[1:]]
        return {
            name: slice(first, stop)
            for (name, first), stop in zip(self.categories, [*stops, self.rows], strict=True)
        }


class Content:
    """A catalog's file as it was when it was opened; may be shared by threads."""

    def __init__(self, path: Path) -> None:
        """Map a file, and read none of its columns. Raises CatalogError."""
        self.identity = identity(path)  # First, so that a file replaced in between is noticed.
        self.folder = path.parent.resolve()  # which relative paths of images start from
        mend = f"make one with `completelook index PRODUCTS --catalog {path}`"
        if not path.is_file():
            raise CatalogError(f"{path}: no such catalog: {mend}")
        try:
            self.file = SealedFile(path)
            self._reader = pa.ipc.open_file(self.file.buffer)
        except (pa.ArrowException, OSError) as error:
            raise CatalogError(f"{path}: cannot be read: {error}: {mend}") from error
        self.directory = Directory(**self.file.directory)
        self.rows = self.directory.rows
        self.slices = self.directory.slices()
        self.schema = self._reader.schema
        self.is_half = pa.types.is_float16(self.schema.field("embedding").type.value_type)
        # The first row of each batch, and the end of the last.
        self._firsts = [*(first for first, _ in self.directory.batches), self.rows]
        self._batches: dict[int, pa.RecordBatch] = {}
        self._columns: dict[tuple[int, str], Any] = {}
        self._stored: dict[int, NDArray[Any]] = {}
        self._reading = Lock()

    def column(self, name: str, rows: slice) -> Any:
        """Some rows of a column other than the embedding, as one pyarrow array."""
        parts = [
            self._column(batch, name).slice(own.start, own.stop - own.start)
            for batch, own in self._pieces(rows)
        ]
        return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

    def cells(self, name: str, rows: NDArray[np.int64]) -> list[Any]:
        """What some rows have in a column other than the embedding."""
        cells: list[Any] = [None] * len(rows)
        for batch, places, own in self._by_batch(rows):
            for place, cell in zip(places.tolist(), self._cells(batch, name, own), strict=True):
                cells[place] = cell
        return cells

    def _cells(self, batch: int, name: str, rows: NDArray[np.int64]) -> list[Any]:
        """What some rows of a batch have in a column."""
        column = self._column(batch, name)
        if len(rows) <= _FEW:  # To take them at once takes a tenth of a second to import.
            return [column[row].as_py() for row in rows.tolist()]
        cells: list[Any] = column.take(pa.array(rows)).to_pylist()
        return cells

    def table(self) -> pa.Table:
        """All columns but the embedding."""
        names = [name for name in self.schema.names if name != "embedding"]
        columns = {
            name: pa.chunked_array(
                [self._column(batch, name) for batch in range(len(self.directory.batches))],
                self.schema.field(name).type,
            )
            for name in names
        }
        return pa.table(columns)

    def vectors(self, rows: slice) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The embeddings [n, 128] of some rows, batch by batch, each with its first row."""
        for batch, own in self._pieces(rows):
            yield self._firsts[batch] + own.start, self._vectors(batch, own)

    def embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The embeddings of some rows, copied, [n, 128]."""
        copied = np.empty((len(rows), EMBEDDING_SIZE), np.float32)  # [n, 128]
        for batch, places, own in self._by_batch(rows):
            copied[places] = self._numbers(batch, int(own.min()), int(own.max()) + 1)[own]
        return copied

    def read(self, rows: NDArray[np.int64]) -> dict[int, Product]:
        """The products of some rows by row, their images URLs or full paths."""
        own_names = [name for name in self.schema.names if name not in RESERVED]
        products: dict[int, Product] = {}
        for batch, places, own in self._by_batch(rows):
            ids, categories, stored = (self._cells(batch, name, own) for name in _NAMING)
            images = [self._full_image(each) for each in stored]
            if own_names:
                cells = zip(*(self._cells(batch, name, own) for name in own_names), strict=True)
                columns = [dict(zip(own_names, each, strict=True)) for each in cells]
            else:
                columns = [{} for _ in ids]
            made = map(Product, ids, categories, images, columns)
            products.update(zip(rows[places].tolist(), made, strict=True))
        self.file.require_unchanged()
        return products

    def rows_of(self, ids: Any) -> NDArray[np.int64]:
        """The row of each id, texts or a column of them, -1 where there is none, [n]."""
        import pyarrow.compute as pc  # Half of pyarrow's import time, and not needed to rank.

        wanted: Any = ids if isinstance(ids, pa.ChunkedArray) else pa.array([*ids], pa.string())
        unique: Any = pc.unique(wanted)
        row_of = np.full(len(unique), -1)
        for batch in range(len(self.directory.batches)):
            found: Any = pc.index_in(self._column(batch, "id"), value_set=unique)
            places = found.fill_null(-1).to_numpy()
            held = np.flatnonzero(places >= 0)
            row_of[places[held]] = held + self._firsts[batch]
        asked: Any = pc.index_in(wanted, value_set=unique)
        rows: NDArray[np.int64] = row_of[asked.to_numpy()]
        return rows

    def products(self, parts: Sequence[NDArray[np.int64]]) -> list[Sequence[Product]]:
        """The products of some rows, part by part, read when one of them is asked for."""
        reading = _Reading(self, parts)
        return [_Products(reading, rows) for rows in parts]

    def validate(self) -> None:
        """Read all of it, and find it as it must be. Raises CatalogError for what is not."""
        self.file.check_all()
        for batch in range(len(self.directory.batches)):
            try:
                self._batch(batch).validate(full=True)
            except pa.ArrowException as error:
                raise self.file.damaged(f"a damaged catalog: {error}") from error
        table = self.table()
        held = [(name, self.column("category", rows)) for name, rows in self.slices.items()]
        is_sorted = all(set(found.to_pylist()) == {name} for name, found in held)
        for rows in self.slices.values():
            ids = self.column("id", rows).to_pylist()
            is_sorted = is_sorted and ids == sorted(ids)
            for first, vectors in self.vectors(rows):
                require_embeddings(table["id"].slice(first, len(vectors)), vectors)
        if not is_sorted:
            raise self.file.damaged("a catalog whose rows are not sorted by category and id")
        order_of_unique(self.file.path, table["id"])
        self.file.require_unchanged()

    def _full_image(self, stored: str) -> str:
        # Nearly all of a shop's are told apart by how they begin.
        is_address = stored.startswith(("https://", "http://")) or is_url(stored)
        return stored if is_address else str(self.folder / stored)

    def _batch_of(self, row: int) -> int:
        return bisect_right(self._firsts, row) - 1

    def _by_batch(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.int64]]]:
        """The batches that some rows lie in, with the places of these and their numbers there."""
        if not len(rows):
            return
        first = self._batch_of(int(rows.min()))
        last = self._batch_of(int(rows.max()))
        if first == last:
            yield first, np.arange(len(rows)), rows - self._firsts[first]
            return
        for batch in range(first, last + 1):
            start, end = self._firsts[batch : batch + 2]
            places = np.flatnonzero((rows >= start) & (rows < end))
            if len(places):
                yield batch, places, rows[places] - start

    def _pieces(self, rows: slice) -> Iterator[tuple[int, slice]]:
        """The batches that some rows lie in, each with which of its own they are."""
        for batch in range(self._batch_of(rows.start), self._batch_of(rows.stop - 1) + 1):
            first, end = self._firsts[batch : batch + 2]
            yield batch, slice(max(rows.start, first) - first, min(rows.stop, end) - first)

    def _batch(self, batch: int) -> pa.RecordBatch:
        with self._reading:
            if batch not in self._batches:
                start = self.directory.batches[batch][1]
                # The schema and the dictionaries, and then this batch's own description.
                self.file.check(0, self.directory.batches[0][1])
                self.file.check(start, start + 8)
                length = int.from_bytes(self.file.buffer[start + 4 : start + 8], "little")
                self.file.check(start, start + 8 + length)
                self._batches[batch] = self._reader.get_batch(batch)
            return self._batches[batch]

    def _column(self, batch: int, name: str) -> Any:
        key = batch, name
        if key not in self._columns:
            column = self._batch(batch).column(name)
            for buffer in column.buffers():
                if buffer is not None:
                    self.file.check_buffer(buffer)
            self._columns[key] = column
        return self._columns[key]

    def _vectors(self, batch: int, rows: slice) -> NDArray[np.float32]:
        """The embeddings [n, 128] of some rows of a batch."""
        stored = self._numbers(batch, rows.start, rows.stop)[rows]
        return stored.astype(np.float32, copy=False)

    def _numbers(self, batch: int, start: int, stop: int) -> NDArray[Any]:
        """A batch's embeddings as they are stored, of which some rows may be read, [rows, 128]."""
        stored = self._stored.get(batch)
        if stored is None:
            column: Any = self._batch(batch).column("embedding")
            numbers: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=True)
            stored = self._stored[batch] = numbers.reshape(-1, EMBEDDING_SIZE)
        self.file.check_rows(stored, start, stop)
        return stored


class _Reading:
    """Reads the products of parts at once when one is asked for; each by itself where many are."""

    def __init__(self, content: Content, parts: Sequence[NDArray[np.int64]]) -> None:
        self._content = content
        self._parts = parts
        self._is_at_once = all(len(part) <= _FEW for part in parts)
        self._read: dict[int, Product] = {}

    def product(self, row: int) -> Product:
        if not self._is_at_once:
            return self._content.read(np.array([row]))[row]
        return self._all()[row]

    def products(self, rows: NDArray[np.int64]) -> list[Product]:
        if not self._is_at_once:
            return [self.product(row) for row in rows.tolist()]
        return [*map(self._all().__getitem__, rows.tolist())]

    def _all(self) -> dict[int, Product]:
        if not self._read:
            self._read = self._content.read(np.unique(np.concatenate(self._parts)))
        return self._read


class _Products(Sequence[Product]):
    """The products of some rows."""

    def __init__(self, reading: _Reading, rows: NDArray[np.int64]) -> None:
        self._reading = reading
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Product]:
        return iter(self._reading.products(self._rows))

    @overload
    def __getitem__(self, index: int) -> Product: ...
    @overload
    def __getitem__(self, index: slice) -> "_Products": ...
    def __getitem__(self, index: int | slice) -> "Product | _Products":
        if isinstance(index, slice):
            return _Products(self._reading, self._rows[index])
        return self._reading.product(int(self._rows[index]))


def identity(path: Path) -> tuple[int, int]:
    """What a file at a path and another one that takes its place differ in."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def are_unit(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which embeddings [n, 128] are of length 1, [n]."""
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.einsum("ij,ij->i", embeddings, embeddings)  # [n]
        are: NDArray[np.bool_] = np.abs(squares - 1) <= UNIT_TOLERANCE
    return are


def require_embeddings(ids: Any, embeddings: NDArray[np.float32]) -> None:
    """Raises CatalogError unless each product has an embedding [128] of length 1."""
    if embeddings.shape != (len(ids), EMBEDDING_SIZE):
        raise CatalogError(
            f"embeddings of shape {list(embeddings.shape)} for {len(ids)} products, "
            f"expected [{len(ids)}, {EMBEDDING_SIZE}]"
        )
    bad = np.flatnonzero(~are_unit(embeddings))
    if len(bad):
        product_id, length = str(ids[int(bad[0])]), np.linalg.norm(embeddings[bad[0]])
        raise CatalogError(
            f"product {product_id!r}: its embedding has the length {length:.4g}, expected 1: "
            "embed it again"
        )


def order_of_unique(path: Path, ids: Any) -> NDArray[np.int64]:
    """The rows in the order of a column of ids, [N]. Raises CatalogError where one is repeated."""
    order, repeats = order_of(ids)
    if repeats.any():
        import pyarrow.compute as pc

        values, counts = pc.value_counts(ids).flatten()
        repeated = values[int(np.argmax(counts))].as_py()
        raise CatalogError(f"{path}: ids must be unique among the products, {repeated!r} is not")
    return order
