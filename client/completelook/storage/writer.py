"""Writing a catalog's file: sorted, checked and sealed, a record batch at a time."""

from collections.abc import Iterator
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
from completelook.products import changed
from completelook.storage.batch import Embeddings, write_batch
from completelook.storage.content import (
    RESERVED,
    Content,
    Directory,
    order_of_unique,
)
from completelook.storage.seal import Sealing

# A category of no more is in one batch, so that its embeddings are one block.
_BATCH_ROWS = 1 << 16
# Of the shop's columns: a batch holds at most 2 GB of text a column.
_BATCH_BYTES = 1 << 27
_READ_ONLY = 0o444


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
    order, held = _order(path, table)
    vectors = pa.list_(pa.float16() if half else pa.float32(), EMBEDDING_SIZE)
    schema = table.schema.append(pa.field("embedding", vectors)).with_metadata(metadata)
    with writing(path), replacing(path) as beside:
        _remove_leftovers(path)
        pa.default_memory_pool().release_unused()  # what sorting has left there
        with Sealing(beside) as file:
            writer = pa.ipc.new_file(file, schema)
            batches = []
            for first, stop in _batches(table, held):
                batches.append((first, file.tell()))
                write_batch(file, writer, schema, table, embeddings, order[first:stop])
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
    folder = str(path.parent.resolve()).rstrip("/") + "/"

    def relative(images: Any) -> Any:
        """Below the catalog's folder an image is stored relative to it."""
        within = pc.utf8_ltrim(pc.utf8_slice_codeunits(images, len(folder)), "/")
        return pc.if_else(pc.starts_with(images, folder), within, images)

    columns["image"] = changed(columns["image"], relative)
    columns |= {name: products[name] for name in products.column_names if name not in columns}
    # Every batch has the same dictionaries, as the file wants it.
    return pa.table(columns).unify_dictionaries()


def _order(path: Path, table: pa.Table) -> tuple[NDArray[np.int64], list[tuple[str, int]]]:
    """The rows sorted by category, then id, and where in this order each category begins.

    Raises CatalogError where an id is repeated.
    """
    encoded: Any = table["category"].dictionary_encode().combine_chunks()
    names: list[str] = encoded.dictionary.to_pylist()
    by_name = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.min_scalar_type(len(names)))
    place[by_name] = np.arange(len(names))
    codes = place[encoded.indices.to_numpy()]  # [N]
    by_id = order_of_unique(path, table["id"])  # [N]
    order = by_id[np.argsort(codes[by_id], kind="stable")]  # [N]
    stops = np.bincount(codes).cumsum().tolist()
    return order, list(zip((names[row] for row in by_name), [0, *stops[:-1]], strict=True))


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
