"""Delimited text as shops export it: its dialect is settled first, then every cell is kept.

A column becomes numbers only where each of its cells comes back as it was written: a GTIN with
leading zeros, the size 1e5 and the name 007 stay text.
"""

import codecs
import io
from array import array
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import IO, Any, Literal, cast

import pyarrow as pa

from completelook.errors import TableError
from completelook.products.columns import REQUIRED
from completelook.products.dialect import BARE_RETURN, DELIMITERS, Dialect, find_dialect, opened
from completelook.products.records import Rows, Skip

# A row must fit into a block, and a shop's description may hold 5 MB.
_BLOCK_BYTES = 32 * 2**20
# Decimals that are shown without an exponent, whoever shows them.
_WHOLE, _DECIMAL = r"^-?\d{1,19}$", r"^-?(0\.\d|[1-9]\d{0,14}\.\d)\d{0,12}$"
# Stands for a carriage return within a cell while the file is parsed: from Unicode's private area.
_RETURN = "\ue00d"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def read_delimited(path: Path) -> Rows:
    """A table from delimited text, as it is or gzipped, its cells as they were written.

    A row with too few or too many cells, or in another encoding, is skipped; an empty one is none.
    Raises TableError.
    """
    dialect = find_dialect(path)
    skipped: dict[int, str] = {}
    table, repeated = _parse(path, dialect, skipped)
    first = dialect.lines_before + 2
    rows = range(first, first + table.num_rows + len(skipped))
    numbers: Sequence[int] = rows
    if skipped:
        numbers = array("q", (number for number in rows if number not in skipped))
    if dialect.has_broken_lines:
        table, numbers = _without_broken(table, numbers, skipped, dialect)
    table, numbers = _without_open_quote(path, table, numbers, skipped, dialect)
    table, numbers = _without_empty(table, numbers)
    columns = {name: as_written(table[name]) for name in table.column_names}
    skips = tuple(Skip(number, "", "", reason) for number, reason in skipped.items())
    return Rows(pa.table(columns), numbers, skips, (dialect.describe(), *repeated))


def read_cells(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The cells of some columns of delimited text, as they were written, a row at a time.

    Raises TableError, also where a column is missing or a row is not whole.
    """
    skipped: dict[int, str] = {}
    table, _ = _parse(path, find_dialect(path), skipped)
    for number, reason in skipped.items():
        raise TableError(f"{path}, row {number}: {reason}")
    for name in names:
        if name not in table.column_names:
            listed = ", ".join(repr(each) for each in table.column_names)
            raise TableError(f"{path}: no column {name!r}, found {listed}")
    columns: list[list[Any]] = [table[name].to_pylist() for name in names]
    return zip(*columns, strict=True)


def as_written(column: "pa.ChunkedArray[Any]") -> "pa.ChunkedArray[Any]":
    """Text as whole numbers or decimals where every cell survives the round trip, else as it is.

    An empty cell among numbers is null.
    """
    import pyarrow.compute as pc

    is_empty = pc.equal(column, pa.scalar(""))
    if pc.all(is_empty).as_py() is not False:
        return column
    filled = pc.if_else(is_empty, pa.scalar(None, pa.string()), column)
    for kind, form in ((pa.int64(), _WHOLE), (pa.float64(), _DECIMAL)):
        if not pc.all(pc.match_substring_regex(filled, form)).as_py():
            continue
        try:
            numbers: Any = filled.cast(kind)
        except pa.ArrowInvalid:
            continue
        if pc.all(pc.equal(numbers.cast(pa.string()), filled)).as_py():
            return cast("pa.ChunkedArray[Any]", numbers)
    return column


def _parse(
    path: Path, dialect: Dialect, skipped: dict[int, str]
) -> tuple[pa.Table, tuple[str, ...]]:
    """All cells as text, and what there is to say of the columns' names."""
    from pyarrow import csv as arrow_csv

    names = [f"{place}" for place in range(len(dialect.header))]

    def skip(row: Any) -> Literal["skip"]:
        reason = f"{row.actual_columns} cells where the header has {len(names)}"
        if row.actual_columns > len(names):
            reason += f": is a cell with {DELIMITERS[dialect.delimiter]} unquoted?"
        elif dialect.quoted and "\n" in (row.text or ""):
            reason += ", and several lines: does a cell open with a quote that is never closed?"
        skipped[row.number - dialect.names_separator] = reason
        return "skip"

    is_cleaned = dialect.has_broken_lines or dialect.has_bare_returns
    read = arrow_csv.ReadOptions(
        column_names=names,
        skip_rows=dialect.names_separator + dialect.lines_before,
        skip_rows_after_names=1,
        use_threads=False,  # so that skipped rows have their numbers
        block_size=_BLOCK_BYTES,
        encoding="utf-8" if is_cleaned or dialect.encoding == "utf-8-sig" else dialect.encoding,
    )
    parse = arrow_csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char='"' if dialect.quoted else False,
        newlines_in_values=dialect.quoted,
        ignore_empty_lines=False,  # They count as rows.
        invalid_row_handler=skip,
    )
    convert = arrow_csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        strings_can_be_null=False,
        null_values=[],
    )
    with opened(path) as file:
        source: Any = _Cleaned(file, dialect) if is_cleaned else file
        try:
            table = arrow_csv.read_csv(source, read, parse, convert)
        except (pa.ArrowException, UnicodeError) as error:
            reason = str(error).splitlines()[0]
            raise TableError(
                f"{path}: not a readable table ({reason}), {dialect.describe()}: "
                "save it as UTF-8, columns separated by commas"
            ) from error
    kept, repeated = _kept_columns(path, dialect.header, table)
    columns = {name: table[place] for place, name in kept.items()}
    if dialect.has_bare_returns:
        import pyarrow.compute as pc

        columns = {n: pc.replace_substring(c, _RETURN, "\r") for n, c in columns.items()}
    return pa.table(columns), repeated


class _Cleaned(io.RawIOBase):
    """A stream as UTF-8: what is broken replaced, carriage returns within lines set aside."""

    def __init__(self, file: IO[bytes], dialect: Dialect) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(dialect.encoding)("replace")
        self._bare_returns = dialect.has_bare_returns
        self._held = ""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """About as many bytes as asked for; none at the end."""
        while chunk := self._file.read(size):
            if text := self._clean(self._decoder.decode(chunk)):
                return text.encode()
        text, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return text.encode()

    def _clean(self, text: str) -> str:
        if not self._bare_returns:
            return text
        text = self._held + text
        # Whether a line ends here shows in what follows.
        self._held = "\r" if text.endswith("\r") else ""
        return BARE_RETURN.sub(_RETURN, text.removesuffix(self._held))


def _kept_columns(
    path: Path, header: tuple[str, ...], table: pa.Table
) -> tuple[dict[int, str], tuple[str, ...]]:
    """The column of each place, and what is to say of those that are there more than once.

    One without a name stays only where it holds something. Raises TableError for two that a product
    must have one of.
    """
    import pyarrow.compute as pc

    kept: dict[int, str] = {}
    repeated: list[str] = []
    for place, given in enumerate(header):
        name = given.strip()
        if not name:
            if pc.all(pc.equal(table[place], pa.scalar(""))).as_py():
                continue
            name = f"column {place + 1}"
        own, count = name, 1
        while own in kept.values():
            own, count = f"{name} {count + 1}", count + 1
        if own != name and name.casefold() in REQUIRED:
            raise TableError(
                f"{path}: the column {name!r} is there more than once: rename or remove one"
            )
        if own != name:
            repeated.append(f"the column {name!r} is there more than once: one is called {own!r}")
        kept[place] = own
    return kept, tuple(repeated)


def _without_empty(table: pa.Table, numbers: Sequence[int]) -> tuple[pa.Table, Sequence[int]]:
    """Rows that hold nothing are left by spreadsheets, and nobody misses them."""
    import pyarrow.compute as pc

    is_empty: Any = None
    for name in table.column_names:
        blank = pc.equal(pc.utf8_trim_whitespace(table[name]), pa.scalar(""))
        is_empty = blank if is_empty is None else pc.and_(is_empty, blank)
        if not pc.any(is_empty).as_py():
            return table, numbers
    if is_empty is None:
        return table, numbers
    kept = pc.invert(is_empty)
    return table.filter(kept), list(compress(numbers, kept.to_pylist()))


def _without_open_quote(
    path: Path, table: pa.Table, numbers: Sequence[int], skipped: dict[int, str], dialect: Dialect
) -> tuple[pa.Table, Sequence[int]]:
    """Without a last row whose quote is never closed, so that it holds all rows behind it."""
    if not (dialect.quoted and len(table)):
        return table, numbers
    last = str(table.column(table.num_columns - 1)[-1])
    if "\n" not in last.strip() or _ends_with_quote(path, dialect):
        return table, numbers
    lines = len(last.splitlines()) - 1
    skipped[numbers[-1]] = (
        f"its last cell opens with a quote that is never closed, so that it holds the {lines} "
        "lines that follow: close it"
    )
    return table.slice(0, len(table) - 1), numbers[:-1]


def _ends_with_quote(path: Path, dialect: Dialect) -> bool:
    end = ""
    with opened(path) as file, io.TextIOWrapper(file, dialect.encoding, "replace") as lines:
        for line in lines:
            end = line.strip() or end
    return end.endswith('"')


def _without_broken(
    table: pa.Table, numbers: Sequence[int], skipped: dict[int, str], dialect: Dialect
) -> tuple[pa.Table, Sequence[int]]:
    import pyarrow.compute as pc

    broken = pa.array([False] * table.num_rows, pa.bool_())
    for name in table.column_names:
        holds = pc.match_substring(table[name], _REPLACEMENT)
        broken = pc.or_(broken, holds)
    flags = broken.to_pylist()
    for number, is_broken in zip(numbers, flags, strict=True):
        if is_broken:
            skipped[number] = f"a cell is not {dialect.encoding_name}"
    kept = [number for number, is_broken in zip(numbers, flags, strict=True) if not is_broken]
    return table.filter(pc.invert(broken)), kept
