"""Keeping catalogs: what one is, several made one, and what it holds for other programs."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.arrow import ArrowCatalog, file_metadata
from completelook.catalog.catalog import Catalog, format_model_id
from completelook.catalog.milvus import MilvusCatalog
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError, ModelMismatch, UsageError
from completelook.files import replacing
from completelook.images import is_url
from completelook.products import as_json
from completelook.storage import changing, write_file, writing

_EXPORTED_ROWS = 16_384  # at a time


@dataclass(frozen=True)
class Description:
    """What a catalog is; of one that is no file, size and digest are None."""

    location: str
    model_id: str
    products: int
    category_counts: Mapping[str, int]
    unknown_categories: tuple[str, ...]  # of these, those that its model does not know
    columns: Mapping[str, str]  # the shop's own, with the type of each
    size_bytes: int | None
    sha256: str | None


def describe(catalog: Catalog) -> Description:
    """What a catalog is. Raises OSError."""
    info = catalog.info
    types: dict[str, str] = {}
    size, digest = None, None
    if isinstance(catalog, MilvusCatalog):
        types = {
            field.name: str(field.type) for field in catalog.collection.description.layout.schema
        }
    if isinstance(catalog, ArrowCatalog):
        types = {field.name: str(field.type) for field in catalog.content.schema}
        size = catalog.path.stat().st_size
        with catalog.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Description(
        location=info.location,
        model_id=format_model_id(info.model_id),
        products=len(catalog),
        category_counts=info.category_counts,
        unknown_categories=tuple(
            name for name in info.category_counts if name not in info.categories.names
        ),
        columns={name: types[name] for name in info.columns},
        size_bytes=size,
        sha256=digest,
    )


def merge(parts: Sequence[Path], path: Path, *, last_wins: bool = False) -> int:
    """Make one catalog of several files; how many products it holds.

    All must be of the same model. A product that several hold alike is in it once; one that they
    hold otherwise is an error, unless the last of the files wins. Columns that some lack are
    empty there.

    Raises CatalogError, and ModelMismatch for files of several models.
    """
    opened = [ArrowCatalog(part) for part in parts]
    first = opened[0]
    for other in opened[1:]:
        if (other.model_id, other.categories) != (first.model_id, first.categories):
            raise ModelMismatch(
                f"{first.path} was made by model {format_model_id(first.model_id)}, {other.path} "
                f"by {format_model_id(other.model_id)}, or for other categories: index the "
                "products of one of them again"
            )
    tables = [_with_full_paths(catalog) for catalog in opened]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise CatalogError(f"{path}: a column of several types: {error}") from error
    sizes = [len(each) for each in tables]
    part_of = np.repeat(np.arange(len(parts)), sizes)  # [N]
    row_of = np.concatenate([np.arange(size) for size in sizes])  # [N]

    def embeddings(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors = np.empty((len(rows), EMBEDDING_SIZE), np.float32)  # [n, 128]
        for part, catalog in enumerate(opened):
            is_own = part_of[rows] == part
            vectors[is_own] = catalog.content.embeddings(row_of[rows[is_own]])
        return vectors

    def are_alike(one: int, other: int) -> bool:
        vectors = embeddings(np.array([one, other]))
        same = table.slice(one, 1).to_pylist() == table.slice(other, 1).to_pylist()
        return same and np.array_equal(*vectors)

    kept = _kept(table, part_of, parts, None if last_wins else are_alike)
    metadata = file_metadata(first.model_id, first.categories.names)
    with changing(path):
        write_file(path, table.take(kept), lambda rows: embeddings(kept[rows]), metadata)
    return len(kept)


def export(catalog: Catalog, path: Path, *, embeddings: bool = False) -> int:
    """Write what a catalog's file holds as .csv, .parquet or .jsonl; how many products.

    Images have their full path. Lists stand in CSV as JSON. Raises UsageError for another ending
    and for a catalog that is no file, CatalogError, OSError.
    """
    if path.suffix not in _WRITERS:
        raise UsageError(f"{path}: expected a name that ends with {', '.join(_WRITERS)}")
    if not isinstance(catalog, ArrowCatalog):
        raise UsageError(f"{catalog.info.location}: only a catalog in a file can be exported")
    table = _with_full_paths(catalog)
    with writing(path), replacing(path) as beside, _WRITERS[path.suffix](beside) as write:
        for start in range(0, len(table), _EXPORTED_ROWS):
            part = table.slice(start, _EXPORTED_ROWS).combine_chunks()
            if embeddings:
                rows = np.arange(start, start + len(part))
                values = pa.array(catalog.content.embeddings(rows).reshape(-1), pa.float32())
                vectors = pa.FixedSizeListArray.from_arrays(values, EMBEDDING_SIZE)
                part = part.append_column("embedding", vectors)
            write(part)
    return len(table)


def _with_full_paths(catalog: ArrowCatalog) -> pa.Table:
    """All columns but the embedding, an image as its URL or full path."""
    table = catalog.content.table()
    folder = catalog.path.parent.resolve()
    stored: list[Any] = table["image"].to_pylist()
    images = pa.array(
        [image if is_url(image) else str(folder / image) for image in stored], pa.string()
    )
    return table.set_column(table.column_names.index("image"), "image", images)


def _kept(
    table: pa.Table,
    part_of: NDArray[np.intp],
    parts: Sequence[Path],
    are_alike: Callable[[int, int], bool] | None,
) -> NDArray[np.int64]:
    """The rows of all products, each id once: the first of alike ones, or else the last of all."""
    rows: dict[str, int] = {}
    ids: list[Any] = table["id"].to_pylist()
    for row, product_id in enumerate(ids):
        before = rows.setdefault(product_id, row)
        if before == row:
            continue
        if are_alike is None:
            rows[product_id] = row
        elif not are_alike(before, row):
            raise CatalogError(
                f"product {product_id!r} is in {parts[part_of[before]]} and, otherwise, in "
                f"{parts[part_of[row]]}: mend it, or let the later file win with --last-wins"
            )
    return np.array(sorted(rows.values()), np.int64)


_Write = Callable[[pa.Table], None]


@contextmanager
def _tables(
    path: Path, writer_of: Callable[[Path, pa.Schema], Any], as_held: Callable[[pa.Table], pa.Table]
) -> Iterator[_Write]:
    """Write tables of one schema by a writer of pyarrow, which is closed whatever happens."""
    with ExitStack() as stack:
        writer: Any = None

        def write(table: pa.Table) -> None:
            nonlocal writer
            held = as_held(table)
            if writer is None:
                writer = stack.enter_context(writer_of(path, held.schema))
            writer.write_table(held)

        yield write


def _csv(path: Path) -> AbstractContextManager[_Write]:
    from pyarrow import csv

    def plain(table: pa.Table) -> pa.Table:
        return pa.table({name: _as_text(table[name]) for name in table.column_names})

    return _tables(path, csv.CSVWriter, plain)


def _parquet(path: Path) -> AbstractContextManager[_Write]:
    from pyarrow import parquet

    return _tables(path, parquet.ParquetWriter, lambda table: table)


@contextmanager
def _json_lines(path: Path) -> Iterator[_Write]:
    with path.open("w", encoding="utf-8") as file:

        def write(table: pa.Table) -> None:
            for record in table.to_pylist():
                file.write(json.dumps(as_json(record), ensure_ascii=False) + "\n")

        yield write


_WRITERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines}


def _as_text(column: Any) -> Any:
    """A column that CSV can hold: what is nested as JSON."""
    if not pa.types.is_nested(column.type):
        return column
    texts = [
        None if cell is None else json.dumps(as_json(cell), ensure_ascii=False)
        for cell in column.to_pylist()
    ]
    return pa.array(texts, pa.string())
