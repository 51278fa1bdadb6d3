"""A batch of a catalog's file, of which texts and embeddings are made as they are written."""

import mmap
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.contract import EMBEDDING_SIZE
from completelook.products import taken
from completelook.storage.content import require_embeddings
from completelook.storage.seal import Sealing

# Embeddings [n, 128] of some rows of the products.
Embeddings = Callable[[NDArray[np.int64]], NDArray[np.float32]]

_AT_ONCE = 1 << 11  # rows
_MOST_TEXT_BYTES = (1 << 31) - 1


def write_batch(
    file: Sealing,
    writer: Any,
    schema: pa.Schema,
    table: pa.Table,
    embeddings: Embeddings,
    rows: NDArray[np.int64],
) -> None:
    """Write some rows of a table with their embeddings. Raises CatalogError for a bad one."""
    columns = [_column(file, column, rows) for column in table.columns]
    kind = schema.field("embedding").type.value_type
    precision = np.dtype(np.float16 if pa.types.is_float16(kind) else np.float32)
    count = len(rows) * EMBEDDING_SIZE

    def vectors() -> Iterator[NDArray[Any]]:
        for own in _parts(rows):
            found = embeddings(own)  # [n, 128]
            require_embeddings(taken(table["id"], own), found)
            yield np.ascontiguousarray(found, precision)

    numbers = _later(file, count * precision.itemsize, vectors())
    values = pa.Array.from_buffers(kind, count, [None, numbers])
    columns.append(pa.FixedSizeListArray.from_arrays(values, EMBEDDING_SIZE))
    writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    file.require_put()


def _column(file: Sealing, column: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of a column; of texts without gaps only where each begins is in memory."""
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type) or column.null_count:
        return taken(column, rows)
    parts = (taken(column, own) for own in _parts(rows))
    lengths: list[Any] = [pc.binary_length(part).to_numpy() for part in parts]
    ends = np.concatenate(lengths).cumsum(dtype=np.int64)  # [n]
    if not 0 < ends[-1] <= _MOST_TEXT_BYTES:
        return taken(column, rows)
    starts = np.concatenate([[0], ends]).astype(np.int32)  # [n + 1]
    texts = (_bytes(taken(column, own)) for own in _parts(rows))
    content = _later(file, int(ends[-1]), texts)
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(starts), content)


def _bytes(texts: Any) -> NDArray[np.uint8]:
    """The bytes of an array of texts, one behind the other."""
    _, starts, content = texts.buffers()
    first, last = np.frombuffer(starts, np.int32)[[texts.offset, texts.offset + len(texts)]]
    return np.frombuffer(content, np.uint8)[first:last]


def _later(file: Sealing, size: int, pieces: Iterable[NDArray[Any]]) -> pa.Buffer:
    """A buffer of some size in whose place the pieces are written."""
    # Never touched, so that it takes no memory.
    buffer = pa.py_buffer(mmap.mmap(-1, size))
    file.put_instead(buffer, pieces)
    return buffer


def _parts(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
