"""Products to embed, from whatever a shop has: each is either there or skipped with its reason."""

import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.contract import CATEGORY_SEPARATOR
from completelook.errors import TableError
from completelook.products.columns import REQUIRED, name_columns
from completelook.products.delimited import read_delimited
from completelook.products.dialect import opened
from completelook.products.folder import read_folder
from completelook.products.pictures import full_images
from completelook.products.records import (
    Product,
    Rows,
    Skip,
    from_records,
    from_table,
    read_excel,
    read_json,
    read_parquet,
)
from completelook.products.tables import only, order_of, taken
from completelook.products.xml_feed import read_xml

# A path, a pyarrow, pandas or polars table, or products one by one.
ProductSource = str | Path | Iterable[Product | Mapping[str, Any]] | Any

_READERS = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": read_delimited,
    ".parquet": read_parquet,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".xlsx": read_excel,
    ".xml": read_xml,
}
# How files begin that are no tables, whatever their name says.
_OTHER_KINDS = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook of before 2007 (.xls): save it as .xlsx or CSV UTF-8",
    b"<!doctype html": "a web page, such as one that asks to log in: download the export anew",
    b"<html": "a web page, such as one that asks to log in: download the export anew",
    b"%pdf": "a PDF: export it as CSV",
    b"arrow1": "an Arrow file: save it as Parquet, or give the table in Python",
}
_EXPECTED = (
    "expected a table (.csv, .tsv, .txt, .jsonl, .ndjson, .json, .xml, each also with .gz, "
    ".parquet, .xlsx) with columns id, image and category, or a folder with one sub-folder of "
    "pictures per category"
)
# How pandas, databases and spreadsheets write that there is nothing.
_NOTHING = {"", "nan", "null", "none", "n/a", "#n/a", "na", "<na>", "nat"}
_ROWS_AT_ONCE = 1 << 10


@dataclass(frozen=True)
class Products:
    """Products to embed: columns id, image and category as text, then the shop's own.

    An image is a URL or a full path. With the skipped they are all that was given.
    """

    table: pa.Table
    rows: Sequence[int]  # of each product, as a spreadsheet counts them
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()  # how the source was understood, a line each

    def __len__(self) -> int:
        return self.table.num_rows


def read_products(source: ProductSource, columns: Mapping[str, str] | None = None) -> Products:
    """Products from a table's path, a folder, a pyarrow, pandas or polars table, or mappings.

    Image paths of a file are relative to it, others to the working folder. `columns` names those
    of the table that are called otherwise: {"image": "foto"}. Cells come back as they were
    written; a row that cannot be used is skipped with its reason, and so is a repeated id.

    Raises TableError.
    """
    folder = Path.cwd()
    if isinstance(source, str | Path):
        path = Path(source)
        rows = _read_path(path)
        folder = (path if path.is_dir() else path.parent).resolve()
    else:
        rows = _read_object(source)
    name = source if isinstance(source, str | Path) else "the products"
    rows = name_columns(rows, columns or {}, name)
    products = _checked(rows, folder)
    if not len(products) and not products.skipped:
        raise TableError(f"{name}: holds no products: {_EXPECTED}")
    return products


def _read_path(path: Path) -> Rows:
    if path.is_dir():
        return read_folder(path, CATEGORY_SEPARATOR)
    if not path.exists():
        raise TableError(f"{path}: no such file or folder: {_EXPECTED}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    reader: Callable[[Path], Rows] | None = _READERS.get(suffixes[-1] if suffixes else "")
    if path.is_file():
        if path.stat().st_size == 0:
            raise TableError(f"{path}: is empty, 0 bytes")
        reader = _reader_by_content(path) or reader
    if reader is None or not path.is_file():
        raise TableError(f"{path}: not a known kind of table: {_EXPECTED}")
    return reader(path)


def _reader_by_content(path: Path) -> Callable[[Path], Rows] | None:
    """What reads a file that is not what its name says, if it shows. Raises TableError."""
    with opened(path) as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        if _is_workbook(path):
            return read_excel
        raise TableError(f"{path}: is a zip archive: unpack it, and give what is in it")
    if start.startswith(b"PAR1"):
        return read_parquet
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<?xml", b"<rss", b"<feed")):
        return read_xml
    for beginning, what in _OTHER_KINDS.items():
        if text.startswith(beginning):
            raise TableError(f"{path}: is {what}")
    return None


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _read_object(source: Any) -> Rows:
    if isinstance(source, pa.Table):
        return from_table(source)
    if hasattr(source, "__arrow_c_stream__"):  # pandas, polars, DuckDB
        return from_table(pa.table(source))
    if isinstance(source, Iterable):
        return from_records(source)
    raise TableError(f"products of type {type(source).__name__}: {_EXPECTED}, a frame or mappings")


def _checked(rows: Rows, folder: Path) -> Products:
    """Each row a product or skipped, with everything that is wrong with it in one reason.

    Columns are looked at many rows at a time, and rows one by one only where something is wrong: a
    million Python texts take more memory than the table.
    """
    columns = {name: _texts(rows.table, name) for name in REQUIRED}
    is_kept = ~_incomplete(columns)  # [N], whole rows at first
    whole = np.flatnonzero(is_kept)
    order, repeats = order_of(only(pa.table(columns), is_kept)["id"])
    is_kept[whole[order[repeats]]] = False  # The first whole row of each id stays.
    table, numbers, skipped = rows.table, rows.numbers, rows.skipped
    if not is_kept.all():
        skipped = (*skipped, *_skips(rows, columns, is_kept))
        table, numbers = only(table, is_kept), array("q", compress(numbers, is_kept))
    images, lists = full_images(folder, table["image"])
    table = table.set_column(table.column_names.index("image"), "image", images)
    skips = tuple(sorted(skipped, key=lambda skip: skip.row))
    notes = rows.notes
    if lists:
        notes = (*notes, f"{lists} cells name several pictures: the first of each is taken")
    return Products(table, numbers, skips, notes)


def _skips(rows: Rows, columns: Mapping[str, Any], is_kept: NDArray[np.bool_]) -> Iterator[Skip]:
    """The rows that are not kept, each with everything that is wrong with it."""
    import pyarrow.compute as pc

    places = np.flatnonzero(~is_kept)
    own = {name: taken(column, places).to_pylist() for name, column in columns.items()}
    ids: Any = pc.unique(pa.array(own["id"], pa.string()))
    codes = pc.index_in(columns["id"], value_set=ids).fill_null(-1).to_numpy()  # [N]
    held = np.flatnonzero(is_kept & (codes >= 0))
    kept_of = dict(zip(codes[held].tolist(), held.tolist(), strict=True))
    for place, *cells in zip(places.tolist(), *own.values(), strict=True):
        product = dict(zip(own, cells, strict=True))
        reason = _problem(**product)
        before = kept_of.get(int(codes[place]))
        if before is not None and before < place:
            first = {name: column[before].as_py() for name, column in columns.items()}
            repeated = _repeated(product, first, rows.numbers[before])
            reason = f"{reason}, and {repeated}" if reason else repeated
        yield Skip(rows.numbers[place], product["id"], product["image"], reason)


def _incomplete(columns: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which rows lack an id, a picture or a category, [N]."""
    import pyarrow.compute as pc

    nothing = pa.array(sorted(_NOTHING))
    parts = []
    for batch in pa.table(columns).to_batches(max_chunksize=_ROWS_AT_ONCE):
        is_bad: Any = pc.equal(batch["id"], pa.scalar(""))
        for name in ("image", "category"):
            is_bad = pc.or_(is_bad, pc.is_in(pc.utf8_lower(batch[name]), value_set=nothing))
        parts.append(is_bad.to_numpy(zero_copy_only=False))
    return np.concatenate([np.empty(0, np.bool_), *parts])


def _problem(id: str, image: str, category: str) -> str:  # noqa: A002 - the column's name
    """Everything that is missing in a row, as one reason; empty where nothing is."""
    missing = [] if id else ["no id"]
    for name, text in (("image", image), ("category", category)):
        if text.casefold() in _NOTHING:
            missing.append(f"no {name}" + (f" but {text!r}" if text else ""))
    return ", ".join(missing)


def _repeated(product: Mapping[str, str], first: Mapping[str, str], row: int) -> str:
    for name in ("image", "category"):
        if first[name] != product[name]:
            return f"the id stands in row {row} already, with another {name}"
    return f"repeats row {row}"


def _texts(table: pa.Table, name: str) -> Any:
    import pyarrow.compute as pc

    return pc.coalesce(table[name].cast(pa.string()), pa.scalar(""))
