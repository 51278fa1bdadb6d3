"""Writing a catalog's file: sorted, checked and sealed, a record batch at a time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from glob import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError
from completelook.files import locked, replacing
from completelook.storage.content import (
    RESERVED,
    Content,
    Directory,
    require_embeddings,
    require_unique,
)
from completelook.storage.seal import Sealing

# A category of no more is in one batch, so that its embeddings are one block.
_BATCH_ROWS = 1 << 16
# Of the shop's columns: a batch holds at most 2 GB of text a column.
_BATCH_BYTES = 1 << 27
_READ_ONLY = 0o444

# Embeddings [n, 128] of some rows of the products.
Embeddings = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def write_file(
    path: Path,
    products: pa.Table,
    embeddings: Embeddings,
    metadata: dict[Any, Any],
    *,
    half: bool = False,
) -> None:
    """Write products (id, image, category, ...) with their embeddings, sorted and sealed.

    With `half`, embeddings are stored in half precision. They are asked for a batch at a time, so
    that memory does not grow with them. The file that was there stays until the new one is whole.
    To be called by who is `changing` the path. Raises CatalogError.
    """
    check_replaceable(path)
    table = _arranged(path, products)
    require_unique(path, table["id"])
    order, held = _order(table)
    vectors = pa.list_(pa.float16() if half else pa.float32(), EMBEDDING_SIZE)
    schema = table.schema.append(pa.field("embedding", vectors)).with_metadata(metadata)
    with writing(path), replacing(path) as beside:
        _remove_leftovers(path)
        with Sealing(beside) as file:
            writer = pa.ipc.new_file(file, schema)
            batches = []
            for first, stop in _batches(table, held):
                batches.append((first, file.tell()))
                rows = order[first:stop]
                writer.write_batch(_batch(schema, table, embeddings, rows))
            file.seal(writer, vars(Directory(len(table), batches, held)))
        # Whom nothing else warns of `cp` over a catalog that is being read, that does.
        beside.chmod(beside.stat().st_mode & _READ_ONLY)
        Content(beside)  # What cannot be opened must not replace what can.


def _remove_leftovers(path: Path) -> None:
    """Remove what a writer that was killed has left: with its lock held, nobody else writes."""
    for leftover in path.parent.glob(f".{escape(path.name)}.*.partial"):
        leftover.unlink(missing_ok=True)


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Be the one that writes a catalog. Raises CatalogError where another is, naming it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path))
        except BlockingIOError as error:
            raise CatalogError(
                f"{path}: {error} is writing this catalog: wait until it is through, or stop it"
            ) from error
        except OSError as error:
            raise CatalogError(f"{path}: cannot be written: {error}") from error
        yield


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
        start = file.read(6)
    if start not in (b"", b"ARROW1"):
        raise CatalogError(f"{path}: is there already and is not a catalog: give another name")


def _arranged(path: Path, products: pa.Table) -> pa.Table:
    """The catalog's columns but the embedding in their order, images as they are stored."""
    import pyarrow.compute as pc  # Half of pyarrow's import time, and needed only to write.

    if not len(products):
        raise CatalogError(f"{path}: a catalog must have products in it")
    columns: dict[str, Any] = {}
    for name in RESERVED[:-1]:
        columns[name] = products[name].cast(pa.string())
        if columns[name].null_count:
            raise CatalogError(f"{path}: a product without {name!r}")
    # Below the catalog's folder an image is stored relative to it.
    folder = str(path.parent.resolve()).rstrip("/") + "/"
    below: Any = pc.starts_with(columns["image"], folder)
    if pc.any(below).as_py():
        relative = pc.utf8_ltrim(pc.utf8_slice_codeunits(columns["image"], len(folder)), "/")
        columns["image"] = pc.if_else(below, relative, columns["image"])
    columns |= {name: products[name] for name in products.column_names if name not in columns}
    # Every batch has the same dictionaries, as the file wants it.
    return pa.table(columns).unify_dictionaries().combine_chunks()


def _order(table: pa.Table) -> tuple[NDArray[np.int64], list[tuple[str, int]]]:
    """The rows sorted by category, then id, and where in this order each category begins."""
    import pyarrow.compute as pc

    categories: Any = table["category"].combine_chunks()
    encoded = categories.dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    place = np.empty(len(names), np.int32)
    by_name = sorted(range(len(names)), key=names.__getitem__)
    place[by_name] = np.arange(len(names))
    codes = place[encoded.indices.to_numpy()]  # [N]
    order = np.argsort(codes, kind="stable")  # [N]
    stops = np.bincount(codes).cumsum().tolist()
    held = list(zip((names[row] for row in by_name), [0, *stops[:-1]], strict=True))
    ids = table["id"]
    for (_, first), stop in zip(held, stops, strict=True):
        rows = order[first:stop]
        by_id: Any = pc.sort_indices(ids.take(pa.array(rows)))
        order[first:stop] = rows[by_id.to_numpy()]
    return order, held


def _batches(table: pa.Table, held: list[tuple[str, int]]) -> Iterator[tuple[int, int]]:
    """First row and end of each batch: whole categories, as many as fit, or a part of one."""
    most = max(1, min(_BATCH_ROWS, _BATCH_BYTES * len(table) // max(1, table.nbytes)))
    first = 0
    starts = [start for _, start in held] + [len(table)]
    for start, stop in pairwise(starts):
        if stop - first > most and start > first:
            yield first, start
            first = start
        while stop - first > most:
            yield first, first + most
            first += most
    yield first, len(table)


def _batch(
    schema: pa.Schema, table: pa.Table, embeddings: Embeddings, rows: NDArray[np.int64]
) -> pa.RecordBatch:
    taken: Any = pa.array(rows)
    part = table.take(taken)
    vectors = embeddings(rows)  # [n, 128]
    require_embeddings(part["id"], vectors)
    is_half = pa.types.is_float16(schema.field("embedding").type.value_type)
    precision = np.float16 if is_half else np.float32
    numbers = pa.array(np.ascontiguousarray(vectors, precision).reshape(-1))  # [n * 128]
    columns: list[Any] = [column.combine_chunks() for column in part.columns]
    columns.append(pa.FixedSizeListArray.from_arrays(numbers, EMBEDDING_SIZE))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
