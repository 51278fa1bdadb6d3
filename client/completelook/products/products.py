"""Products to embed, from whatever a shop has: each is either there or skipped with its reason."""

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from completelook.contract import CATEGORY_SEPARATOR
from completelook.errors import TableError
from completelook.products.columns import REQUIRED, name_columns
from completelook.products.delimited import read_delimited
from completelook.products.folder import read_folder
from completelook.products.pictures import first_image
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
}
# How files begin that are no tables, whatever their name says.
_OTHER_KINDS = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook of before 2007 (.xls): save it as .xlsx or CSV UTF-8",
    b"<!doctype html": "a web page, such as one that asks to log in: download the export anew",
    b"<html": "a web page, such as one that asks to log in: download the export anew",
    b"<?xml": "XML: export it as CSV or tab-separated text",
    b"<rss": "XML: export it as CSV or tab-separated text",
    b"%pdf": "a PDF: export it as CSV",
    b"arrow1": "an Arrow file: save it as Parquet, or give the table in Python",
}
_EXPECTED = (
    "expected a table (.csv, .tsv, .txt, also with .gz, .jsonl, .ndjson, .json, .parquet, .xlsx) "
    "with columns id, image and category, or a folder with one sub-folder of pictures per category"
)
# How pandas, databases and spreadsheets write that there is nothing.
_NOTHING = {"", "nan", "null", "none", "n/a", "#n/a", "na", "<na>", "nat"}


@dataclass(frozen=True)
class Products:
    """Products to embed: columns id, image and category as text, then the shop's own.

    An image is a URL or a full path. With the skipped they are all that was given.
    """

    table: pa.Table
    rows: tuple[int, ...]  # of each product, as a spreadsheet counts them
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
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        if _is_workbook(path):
            return read_excel
        raise TableError(f"{path}: is a zip archive: unpack it, and give what is in it")
    if start.startswith(b"PAR1"):
        return read_parquet
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
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
    """Each row a product or skipped, with everything that is wrong with it in one reason."""
    texts = {name: _texts(rows.table, name) for name in REQUIRED}
    kept: list[int] = []
    skipped = list(rows.skipped)
    first: dict[str, int] = {}
    for place, number in enumerate(rows.numbers):
        product_id, image, category = (texts[name][place] for name in REQUIRED)
        reason = _problem(product_id, image, category)
        if product_id in first:
            repeated = _repeated(texts, rows.numbers, first[product_id], place)
            reason = f"{reason}, and {repeated}" if reason else repeated
        if reason:
            skipped.append(Skip(number, product_id, image, reason))
        else:
            first[product_id] = place
            kept.append(place)
    table = (
        rows.table
        if len(kept) == rows.table.num_rows
        else rows.table.take(pa.array(kept, pa.int64()))
    )
    chosen = [first_image(folder, texts["image"][place]) for place in kept]
    images = pa.array([image for image, _ in chosen], pa.string())
    table = table.set_column(table.column_names.index("image"), "image", images)
    numbers = tuple(rows.numbers[place] for place in kept)
    skips = tuple(sorted(skipped, key=lambda skip: skip.row))
    notes = rows.notes
    if lists := sum(is_one_of_several for _, is_one_of_several in chosen):
        notes = (*notes, f"{lists} cells name several pictures: the first of each is taken")
    return Products(table, numbers, skips, notes)


def _problem(product_id: str, image: str, category: str) -> str:
    """Everything that is missing in a row, as one reason; empty where nothing is."""
    missing = [] if product_id else ["no id"]
    for name, text in (("image", image), ("category", category)):
        if text.casefold() in _NOTHING:
            missing.append(f"no {name}" + (f" but {text!r}" if text else ""))
    return ", ".join(missing)


def _repeated(
    texts: Mapping[str, list[str]], numbers: Sequence[int], first: int, place: int
) -> str:
    row = numbers[first]
    for name in ("image", "category"):
        if texts[name][first] != texts[name][place]:
            return f"the id stands in row {row} already, with another {name}"
    return f"repeats row {row}"


def _texts(table: pa.Table, name: str) -> list[str]:
    return ["" if text is None else str(text) for text in table[name].to_pylist()]
