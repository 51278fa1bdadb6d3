"""Tables and folders of products, as users keep them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from pyarrow import csv, json, parquet

from completelook.catalog.catalog import Product
from completelook.contract import CATEGORY_SEPARATOR
from completelook.errors import TableError
from completelook.images import is_url

# A path, a pyarrow, pandas or polars table, or products one by one.
ProductSource = str | Path | Iterable[Product | Mapping[str, Any]] | Any

REQUIRED = ("id", "image", "category")
_TEXT = pa.schema([(name, pa.string()) for name in REQUIRED])
_EXPECTED = (
    "expected a CSV, Parquet or JSON-lines table with the columns id, image and category "
    "(.csv, .parquet, .jsonl), or a folder with one sub-folder of pictures per category"
)
_SHOWN = 5


@dataclass(frozen=True)
class Products:
    """Products to embed: columns id, image and category as text, then the user's own.

    An image is a URL or a full path.
    """

    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows


def read_products(source: ProductSource) -> Products:
    """Products from a CSV, Parquet or JSON-lines table, a folder per category, or from memory.

    In memory they are a pyarrow, pandas or polars table, or `Product`s or mappings one by one. Ids
    are text whatever they look like; the types of the shop's own columns are inferred. Image paths
    of a file are relative to it, others to the working folder. In a folder a product's id is its
    file's name without the suffix, and nested folders make a path: `Furniture/Chairs` holds
    `Furniture|Chairs`.

    Raises TableError.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        folder = (path if path.is_dir() else path.parent).resolve()
        table = _read_path(path)
    else:
        path, folder = Path("the products"), Path.cwd()
        table = _with_text_first(path, _from_memory(source)).replace_schema_metadata(None)
    _check(path, table)
    images = pa.array([_full(folder, image) for image in _texts(table, "image")], pa.string())
    return Products(table.set_column(table.column_names.index("image"), "image", images))


def _from_memory(source: Any) -> pa.Table:
    try:
        if hasattr(source, "__arrow_c_stream__"):  # pyarrow, pandas, polars, DuckDB
            table = pa.table(source)
            return table.select([name for name in table.column_names if not _is_index(name)])
        rows = [_row(product) for product in source]
        names = dict.fromkeys([*REQUIRED, *(name for row in rows for name in row)])
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except (TypeError, pa.ArrowException) as error:
        raise TableError(f"products that cannot be read ({error}): {_EXPECTED}") from error


def _row(product: Any) -> dict[str, Any]:
    if isinstance(product, Product):
        fixed = {"id": product.id, "image": product.image, "category": product.category}
        return {**product.columns, **fixed}
    if isinstance(product, Mapping):
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in product.items()
        }
    raise TableError(f"a product is {product!r}: expected a Product or a mapping")


def _is_index(name: str) -> bool:
    """Whether a column is only the numbers of a pandas frame's rows."""
    return name.startswith("__index_level_")


def _read_path(path: Path) -> pa.Table:
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_table(path)
    raise TableError(f"{path}: no such file or folder: {_EXPECTED}")


def _read_table(path: Path) -> pa.Table:
    readers: dict[str, Callable[[Path], pa.Table]] = {
        ".csv": _read_csv,
        ".parquet": parquet.read_table,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
        ".json": _read_json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"{path}: not a known kind of table: {_EXPECTED}")
    if path.stat().st_size == 0:
        raise TableError(f"{path}: is empty, 0 bytes")
    try:
        table = reader(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{path}: not a readable {path.suffix} table: {reason}") from error
    # What pandas notes there about its index would no longer hold.
    return _with_text_first(path, table).replace_schema_metadata(None)


def _read_csv(path: Path) -> pa.Table:
    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=_TEXT),
    )


def _read_json_lines(path: Path) -> pa.Table:
    table = json.read_json(path)
    dated = [name for name in REQUIRED if _is_date(table, name)]
    if not dated:
        return table
    # Text that looks like a date was read as one, and would not come back as it was.
    as_text = json.ParseOptions(explicit_schema=pa.schema([_TEXT.field(name) for name in dated]))
    return json.read_json(path, parse_options=as_text)


def _is_date(table: pa.Table, name: str) -> bool:
    return name in table.column_names and pa.types.is_temporal(table.schema.field(name).type)


def _read_folder(path: Path) -> pa.Table:
    suffixes = Image.registered_extensions()
    files = sorted(
        file.relative_to(path)
        for file in (*path.glob("*"), *path.glob("*/**/*"))  # rglob would follow no link
        if file.suffix.lower() in suffixes and not _is_hidden(file.relative_to(path))
    )
    columns = {
        "id": [file.stem for file in files],
        "image": [str(file) for file in files],
        "category": [CATEGORY_SEPARATOR.join(file.parent.parts) for file in files],
    }
    return pa.table(columns, schema=_TEXT)


def _is_hidden(file: Path) -> bool:
    return any(part.startswith(".") for part in file.parts)


def _with_text_first(path: Path, table: pa.Table) -> pa.Table:
    _check_columns(path, table.column_names)
    texts = {name: _as_text(path, name, table[name]) for name in REQUIRED}
    own = {name: table[name] for name in table.column_names if name not in REQUIRED}
    return pa.table({**texts, **own})


def _check_columns(path: Path, names: list[str]) -> None:
    if missing := [name for name in REQUIRED if name not in names]:
        raise TableError(
            f"{path}: no column {_listed(missing)}: expected id, image and category, "
            f"found {_listed(names)}"
        )
    if repeated := _repeated(names):
        raise TableError(f"{path}: the column {_listed(repeated)} is there more than once")
    if "embedding" in names:
        raise TableError(f"{path}: rename its column 'embedding', a catalog has its own")


def _as_text(path: Path, name: str, column: "pa.ChunkedArray[Any]") -> "pa.ChunkedArray[Any]":
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_text = any(
        holds(kind)
        for holds in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_integer,
            pa.types.is_null,
        )
    )
    if not is_text:
        raise TableError(f"{path}: column {name!r} holds {kind}, expected text")
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _check(path: Path, table: pa.Table) -> None:
    if table.num_rows == 0:
        found = "no pictures in sub-folders" if path.is_dir() else "no rows"
        raise TableError(f"{path}: holds {found}: {_EXPECTED}")
    for name in REQUIRED:
        empty = [row for row, value in enumerate(_texts(table, name)) if not value]
        if empty and path.is_dir():
            outside = [_texts(table, "image")[row] for row in empty]
            raise TableError(f"{path}: {_listed(outside)} lie in no category's sub-folder")
        if empty:
            rows = _listed([row + 1 for row in empty])
            raise TableError(f"{path}: {name} is missing in product {rows}, counted from 1")
    if repeated := _repeated(_texts(table, "id")):
        raise TableError(f"{path}: ids must be unique, {_listed(repeated)} stand more than once")


def _texts(table: pa.Table, name: str) -> list[str]:
    texts: list[Any] = table[name].to_pylist()
    return texts


def _repeated(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def _full(folder: Path, image: str) -> str:
    return image if is_url(image) else str(folder / image)


def _listed(values: list[str] | list[int]) -> str:
    shown = ", ".join(repr(value) for value in values[:_SHOWN])
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"
