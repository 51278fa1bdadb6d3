"""Rows of products with what could not be read of them; from JSON, Parquet, Excel and mappings."""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from completelook.errors import TableError
from completelook.products.dialect import opened

_MOST_BEFORE = 50  # rows of a sheet, titles and remarks, before its header
_NO_MAPPING = "not an object with columns"
# What pandas makes of an index of its own.
_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class Product:
    """A product as its shop describes it."""

    id: str
    category: str
    image: str  # a URL or a path
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)  # the shop's own


@dataclass(frozen=True)
class Skip:
    """A product that is not indexed, and why."""

    row: int  # as a spreadsheet counts them; in a folder, the picture's place
    id: str
    image: str
    reason: str


@dataclass(frozen=True)
class Rows:
    """A table, where its rows stood in the file, and what could not be read of it."""

    table: pa.Table
    numbers: Sequence[int]  # of each row of the table, as a spreadsheet counts them
    skipped: tuple[Skip, ...] = ()  # what could not be read
    notes: tuple[str, ...] = ()  # what the user may want to check, a line each


def read_json(path: Path) -> Rows:
    """A table from JSON lines or one JSON array of objects; what is neither is skipped.

    The array may stand in an object, `{"products": [...]}`. Raises TableError.
    """
    text = _json_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip()[:1] == "[":
            raise TableError(f"{path}: not a whole JSON array ({error})") from error
    else:
        return from_records(_records_of(content))
    # Not splitlines: JSON may hold other line ends than \n within a text.
    lines = text.split("\n")
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    records: list[Any] = [_parsed(line) for _, line in numbered]
    return from_records(records, [number for number, _ in numbered])


def _records_of(content: Any) -> list[Any]:
    """The array that a JSON text is, or the only one of objects within its object."""
    if isinstance(content, list):
        return content
    names = content.keys() if isinstance(content, Mapping) else ()
    lists = [content[name] for name in names if _holds_objects(content[name])]
    is_around = len(lists) == 1 and not {"id", "image", "category"} & {*names}
    return lists[0] if is_around else [content]


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def read_parquet(path: Path) -> Rows:
    """A table from Parquet, each column of its type. Raises TableError."""
    from pyarrow import parquet

    try:
        return from_table(parquet.read_table(path))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise TableError(f"{path}: not a readable Parquet table: {reason}") from error


def read_excel(path: Path) -> Rows:
    """A table from an Excel workbook: its first sheet with a row of several cells, the header.

    Raises TableError, also where the extra that reads it is missing.
    """
    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise TableError(
            f"{path}: reading Excel needs openpyxl: pip install 'completelook[excel]', or save the "
            "sheet as CSV UTF-8"
        ) from error
    try:
        with path.open("rb") as file:  # A path it would judge by its suffix.
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            sheets = {
                each.title: list(each.iter_rows(values_only=True)) for each in book.worksheets
            }
    except Exception as error:  # openpyxl raises every kind of error on a broken file.
        raise TableError(f"{path}: not a readable Excel workbook: {error}") from error
    title, place = _table_in(sheets)
    rows = sheets[title][place:]
    names = ["" if name is None else str(name).strip() for name in rows[0]] if rows else []
    records: list[Any] = []
    numbers = []
    for number, row in enumerate(rows[1:], place + 2):
        if any(value is not None for value in row):
            records.append({name: value for name, value in zip(names, row, strict=True) if name})
            numbers.append(number)
    found = from_records(records, numbers)
    if place or title != next(iter(sheets)):
        return replace(found, notes=(f"read from sheet {title!r}, header in row {place + 1}",))
    return found


def _table_in(sheets: Mapping[str, Sequence[tuple[Any, ...]]]) -> tuple[str, int]:
    """The first sheet with a row of several cells, and that row, its header's, from 0."""
    for title, rows in sheets.items():
        for place, row in enumerate(rows[:_MOST_BEFORE]):
            if sum(value is not None for value in row) > 1:
                return title, place
    return next(iter(sheets)), 0


def from_table(table: pa.Table) -> Rows:
    """The rows of a table that is there already, counted from 1."""
    names = [name for name in table.column_names if not _INDEX.fullmatch(name)]
    # What pandas notes in the metadata about its index would no longer hold.
    table = table.select(names).replace_schema_metadata(None)
    return Rows(table, range(1, table.num_rows + 1))


def from_records(records: Iterable[Any], numbers: Iterable[int] | None = None) -> Rows:
    """A table from mappings, counted from 1 unless numbered; what is no mapping is skipped."""
    listed = list(records)
    places = list(range(1, len(listed) + 1) if numbers is None else numbers)
    skipped: list[Skip] = []
    kept: list[Mapping[str, Any]] = []
    kept_numbers = []
    for number, record in zip(places, listed, strict=True):
        if isinstance(record, Product):
            own = {"id": record.id, "image": record.image, "category": record.category}
            record = {**own, **record.columns}
        if isinstance(record, Mapping):
            kept.append(record)
            kept_numbers.append(number)
        else:
            skipped.append(Skip(number, "", "", _NO_MAPPING))
    names = dict.fromkeys(name for record in kept for name in record)
    columns = {name: _column([record.get(name) for record in kept]) for name in names}
    return Rows(pa.table(columns), kept_numbers, tuple(skipped))


def _column(values: list[Any]) -> Any:
    """Values as one type where they have one, else as text, each as JSON writes it."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        texts = [
            value
            if value is None or isinstance(value, str)
            else os.fspath(value)
            if isinstance(value, os.PathLike)
            else json.dumps(value, default=str)
            for value in values
        ]
        return pa.array(texts, pa.string())


def _json_text(path: Path) -> str:
    with opened(path) as file:
        content = file.read()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: is not UTF-8 ({error}): save it as UTF-8") from error


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def as_json(value: Any) -> Any:
    """A value of any column as JSON has it: no number as null, a date or a decimal as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return str(value)
