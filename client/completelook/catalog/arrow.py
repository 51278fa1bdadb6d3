"""Catalogs: products and their embeddings in one memory-mapped Arrow file.

The file is one uncompressed record batch, sorted by category and then by id, so that the embeddings
of a category are one contiguous block of it. The schema's metadata says which weights made them.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.categories import CategoryTable
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError, CategoryError, ModelMismatch
from completelook.images import is_url

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


def format_model_id(model_id: int) -> str:
    """A MODEL_ID as it is stored and shown: 16 hexadecimal digits."""
    return f"{model_id:016x}"


@dataclass(frozen=True, eq=False)
class CatalogSlice:
    """The products of one category: a contiguous run of a catalog's rows, in the order of ids."""

    category: str
    first_row: int
    ids: pa.StringArray
    images: pa.StringArray  # as stored; see Catalog.image_source
    embeddings: NDArray[np.float32]  # [n, 128], read-only, not copied

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True, eq=False)
class Catalog:
    """A catalog opened for ranking; its columns stay on disk until they are touched."""

    path: Path
    model_id: int
    categories: CategoryTable  # the model's; products may be of others
    table: pa.Table  # id, category, image, the user's columns, embedding; sorted by category, id
    embeddings: NDArray[np.float32]  # [N, 128], read-only, not copied
    category_counts: Mapping[str, int]  # products per category held, in the order of the rows

    @classmethod
    def open(cls, path: str | Path) -> "Catalog":
        """A catalog that `completelook index` made, memory-mapped.

        Raises CatalogError.
        """
        path = Path(path)
        table = _map(path)
        metadata = table.schema.metadata or {}
        _check(path, table, metadata)
        vectors: Any = table["embedding"].chunk(0)
        embeddings = vectors.flatten().to_numpy(zero_copy_only=True)  # [N * 128]
        return cls(
            path=path,
            model_id=int(metadata[MODEL_ID_KEY], base=16),
            categories=CategoryTable(tuple(json.loads(metadata[CATEGORIES_KEY]))),
            table=table,
            embeddings=embeddings.reshape(-1, EMBEDDING_SIZE),  # [N, 128]
            category_counts=_category_counts(path, table),
        )

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def ids(self) -> pa.StringArray:
        """The products' ids, by row."""
        ids: pa.StringArray = self.column("id")
        return ids

    def column(self, name: str) -> Any:
        """A column by name, a pyarrow array.

        Raises CatalogError when there is none.
        """
        if name not in self.table.column_names:
            known = ", ".join(self.table.column_names)
            raise CatalogError(f"{self.path}: no column {name!r}: expected one of {known}")
        return self.table[name].chunk(0)

    def row(self, index: int) -> dict[str, Any]:
        """All columns of one product but its embedding."""
        names = [name for name in self.table.column_names if name != "embedding"]
        return {name: self.table[name][index].as_py() for name in names}

    def image_source(self, row: int) -> str:
        """The picture of a product as a URL or a full path, ready for open_image."""
        image = str(self.table["image"][row])
        return image if is_url(image) else str(self.path.parent.resolve() / image)

    def slice(self, category: str) -> CatalogSlice:
        """The products of a category, by its full name.

        Raises CategoryError when the catalog holds none, listing what it holds.
        """
        first_row = 0
        for name, count in self.category_counts.items():
            if name == category:
                rows = slice(first_row, first_row + count)
                return CatalogSlice(
                    category=category,
                    first_row=first_row,
                    ids=self.column("id")[rows],
                    images=self.column("image")[rows],
                    embeddings=self.embeddings[rows],  # [n, 128]
                )
            first_row += count
        held = ", ".join(repr(name) for name in self.category_counts)
        raise CategoryError(f"{self.path} holds no products of {category!r}: it holds {held}")

    def require_model(self, model_id: int, server: str) -> None:
        """Raises ModelMismatch unless the catalog was made by the model that `server` runs."""
        if model_id != self.model_id:
            raise ModelMismatch(
                f"{self.path} was made by model {format_model_id(self.model_id)}, "
                f"but {server} runs {format_model_id(model_id)}: make it anew with "
                f"`completelook index PRODUCTS --catalog {self.path} --server {server}`"
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
    table = _arranged(path, products, embeddings).replace_schema_metadata(
        {
            FORMAT_KEY: FORMAT,
            MODEL_ID_KEY: format_model_id(model_id),
            CATEGORIES_KEY: json.dumps(categories, ensure_ascii=False),
        }
    )
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            with pa.OSFile(str(beside), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
                out.write_table(table)
            Catalog.open(beside)  # What cannot be opened must not replace what can.
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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


def _arranged(path: Path, products: pa.Table, embeddings: NDArray[np.float32]) -> pa.Table:
    """The catalog's columns in their order, its rows sorted, each column one block."""
    # Half of pyarrow's import time, and needed only to write.
    import pyarrow.compute as pc

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


def _category_counts(path: Path, table: pa.Table) -> dict[str, int]:
    runs: Any = table["category"].chunk(0).dictionary_encode()
    codes = runs.indices.to_numpy()  # [N], in the order of first appearance
    if (np.diff(codes) < 0).any():
        raise CatalogError(f"{path}: its rows are not sorted by category: index the products again")
    return dict(zip(runs.dictionary.to_pylist(), np.bincount(codes).tolist(), strict=True))
