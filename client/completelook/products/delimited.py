"""Delimited text as shops export it: its dialect is settled first, then every cell is kept.

A column becomes numbers only where each of its cells comes back as it was written: a GTIN with
leading zeros, the size 1e5 and the name 007 stay text.
"""

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, cast

import pyarrow as pa

from completelook.errors import TableError
from completelook.products.records import Rows, Skip

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}

# A row must fit into a block, and a shop's description may hold 5 MB.
_BLOCK_BYTES = 32 * 2**20
_SAMPLE_CHARACTERS = 256 * 1024
_SAMPLE_ROWS = 50
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "cp1252": "CP1252"}
# Decimals that are shown without an exponent, whoever shows them.
_WHOLE, _DECIMAL = r"^-?\d{1,19}$", r"^-?(0\.\d|[1-9]\d{0,14}\.\d)\d{0,12}$"
# Stands for a carriage return within a cell while the file is parsed: from Unicode's private area.
_RETURN = "\ue00d"
_BARE_RETURN = re.compile(r"\r(?!\n)")
# A cell that opens with a quote and goes on behind the closing one: quotes mean nothing there.
_LOOSE_QUOTE = re.compile(r'(?:^|\t)"(?:[^"]|"")*"(?![\t\r\n"]|\Z)', re.MULTILINE)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written."""

    encoding: str
    has_broken_lines: bool  # some lines are not of this encoding
    has_bare_returns: bool  # lines end in \n, and cells hold \r, as pandas writes them
    delimiter: str
    quoted: bool
    names_separator: bool  # in a line before the header
    header: tuple[str, ...]

    def describe(self) -> str:
        """The dialect in a few words, for the user to check."""
        encoding = _NAMES.get(self.encoding, self.encoding.upper())
        return f"read as {encoding}, columns separated by {DELIMITERS[self.delimiter]}"


def read_delimited(path: Path) -> Rows:
    """A table from delimited text, as it is or gzipped, its cells as they were written.

    A row with too few or too many cells, or in another encoding, is skipped. Raises TableError.
    """
    dialect = find_dialect(path)
    skipped: dict[int, str] = {}
    table = _parse(path, dialect, skipped)
    rows = range(2, table.num_rows + len(skipped) + 2)  # the header is the first
    numbers = [number for number in rows if number not in skipped]
    if dialect.has_broken_lines:
        table, numbers = _without_broken(table, numbers, skipped, dialect)
    columns = {name: as_written(table[name]) for name in table.column_names}
    skips = tuple(Skip(number, "", "", reason) for number, reason in skipped.items())
    return Rows(pa.table(columns), numbers, skips, (dialect.describe(),))


def read_cells(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The cells of some columns of delimited text, as they were written, a row at a time.

    Raises TableError, also where a column is missing or a row is not whole.
    """
    skipped: dict[int, str] = {}
    table = _parse(path, find_dialect(path), skipped)
    for number, reason in skipped.items():
        raise TableError(f"{path}, row {number}: {reason}")
    for name in names:
        if name not in table.column_names:
            listed = ", ".join(repr(each) for each in table.column_names)
            raise TableError(f"{path}: no column {name!r}, found {listed}")
    columns: list[list[Any]] = [table[name].to_pylist() for name in names]
    return zip(*columns, strict=True)


def find_dialect(path: Path) -> Dialect:
    """Settle encoding, delimiter and header by looking at the file. Raises TableError."""
    encoding, has_broken_lines = _find_encoding(path)
    with _opened(path) as file, io.TextIOWrapper(file, encoding, "replace", newline="") as lines:
        text = lines.read(_SAMPLE_CHARACTERS)
    text, named = _without_separator_line(text)
    if not text.strip():
        raise TableError(f"{path}: is empty, it holds no header")
    delimiter = named or max(DELIMITERS, key=lambda each: _columns_found(text, each))
    quoted = delimiter != "\t" or not _LOOSE_QUOTE.search(text)
    header = next(_records(text, delimiter, quoted=quoted))
    return Dialect(
        encoding=encoding,
        has_broken_lines=has_broken_lines,
        has_bare_returns=_has_bare_returns(path, encoding),
        delimiter=delimiter,
        quoted=quoted,
        names_separator=named is not None,
        header=tuple(header),
    )


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


def _find_encoding(path: Path) -> tuple[str, bool]:
    """The encoding and whether some lines break it."""
    with _opened(path) as file:
        start = file.read(4)
        for mark, encoding in _BYTE_ORDER_MARKS:
            if start.startswith(mark):
                return encoding, False
        if len(start) > 1 and 0 in start[:2]:
            return ("utf-16-be" if start[0] == 0 else "utf-16-le"), False
    good, broken = 0, 0
    with _opened(path) as file:
        for line in file:
            if not line.isascii():
                try:
                    line.decode()
                    good += 1
                except UnicodeDecodeError:
                    broken += 1
    # Latin letters of CP1252 hardly ever form valid UTF-8.
    if good >= broken:
        return "utf-8", broken > 0
    return "cp1252", False


def _has_bare_returns(path: Path, encoding: str) -> bool:
    """Whether the first line ends in \\n alone, and a later one holds a \\r that ends none."""
    with _opened(path) as file, io.TextIOWrapper(file, encoding, "replace", newline="\n") as lines:
        return not next(lines).endswith("\r\n") and any(map(_BARE_RETURN.search, lines))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        is_gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            if not is_gzipped:
                yield file
            else:
                with gzip.open(file) as content:
                    yield cast("IO[bytes]", content)
        except (gzip.BadGzipFile, EOFError) as error:
            raise TableError(f"{path}: not a whole gzip file: {error}") from error


def _without_separator_line(text: str) -> tuple[str, str | None]:
    """What follows a first line such as `sep=;`, which Excel writes, and the delimiter it names."""
    first, _, rest = text.partition("\n")
    named = first.strip().strip('"')
    if named.lower().startswith("sep=") and named[4:] in DELIMITERS:
        return rest, named[4:]
    return text, None


def _records(text: str, delimiter: str, *, quoted: bool) -> Iterator[list[str]]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(
        lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            return  # A cell longer than the sample.
        if record:
            yield record


def _columns_found(text: str, delimiter: str) -> tuple[int, float]:
    """How many columns a delimiter makes of the header, and how many rows agree with it."""
    records = list(islice(_records(text, delimiter, quoted=True), _SAMPLE_ROWS))
    agreeing = sum(len(record) == len(records[0]) for record in records)
    return len(records[0]), agreeing / len(records)


def _parse(path: Path, dialect: Dialect, skipped: dict[int, str]) -> pa.Table:
    from pyarrow import csv as arrow_csv

    names = [f"{place}" for place in range(len(dialect.header))]

    def skip(row: Any) -> Literal["skip"]:
        skipped[row.number] = f"{row.actual_columns} cells where the header has {len(names)}"
        if row.actual_columns > len(names):
            skipped[row.number] += f": is a cell with {DELIMITERS[dialect.delimiter]} unquoted?"
        return "skip"

    is_cleaned = dialect.has_broken_lines or dialect.has_bare_returns
    read = arrow_csv.ReadOptions(
        column_names=names,
        skip_rows=int(dialect.names_separator),
        skip_rows_after_names=1,
        use_threads=False,  # so that skipped rows have their numbers
        block_size=_BLOCK_BYTES,
        encoding="utf-8" if is_cleaned or dialect.encoding == "utf-8-sig" else dialect.encoding,
    )
    parse = arrow_csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char='"' if dialect.quoted else False,
        newlines_in_values=dialect.quoted,
        invalid_row_handler=skip,
    )
    convert = arrow_csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        strings_can_be_null=False,
        null_values=[],
    )
    with _opened(path) as file:
        source: Any = _Cleaned(file, dialect) if is_cleaned else file
        try:
            table = arrow_csv.read_csv(source, read, parse, convert)
        except (pa.ArrowException, UnicodeError) as error:
            reason = str(error).splitlines()[0]
            raise TableError(
                f"{path}: not a readable table ({reason}), {dialect.describe()}: "
                "save it as UTF-8, columns separated by commas"
            ) from error
    kept = _kept_columns(path, dialect.header, table)
    columns = {name: table[place] for place, name in kept.items()}
    if dialect.has_bare_returns:
        import pyarrow.compute as pc

        columns = {n: pc.replace_substring(c, _RETURN, "\r") for n, c in columns.items()}
    return pa.table(columns)


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
        return _BARE_RETURN.sub(_RETURN, text.removesuffix(self._held))


def _kept_columns(path: Path, header: tuple[str, ...], table: pa.Table) -> dict[int, str]:
    """The column of each place; one without a name stays only where it holds something."""
    import pyarrow.compute as pc

    kept: dict[int, str] = {}
    for place, name in enumerate(header):
        column = table[place]
        if name.strip():
            kept[place] = name.strip()
        elif not pc.all(pc.equal(column, pa.scalar(""))).as_py():
            kept[place] = f"column {place + 1}"
    repeated = {name for name in kept.values() if list(kept.values()).count(name) > 1}
    if repeated:
        listed = ", ".join(repr(name) for name in sorted(repeated))
        raise TableError(
            f"{path}: the column {listed} is there more than once: rename or remove one"
        )
    return kept


def _without_broken(
    table: pa.Table, numbers: list[int], skipped: dict[int, str], dialect: Dialect
) -> tuple[pa.Table, list[int]]:
    import pyarrow.compute as pc

    broken = pa.array([False] * table.num_rows)
    for name in table.column_names:
        holds = pc.match_substring(table[name], _REPLACEMENT)
        broken = pc.or_(broken, holds)
    flags = broken.to_pylist()
    for number, is_broken in zip(numbers, flags, strict=True):
        if is_broken:
            skipped[number] = f"a cell is not {_NAMES[dialect.encoding]}"
    kept = [number for number, is_broken in zip(numbers, flags, strict=True) if not is_broken]
    return table.filter(pc.invert(broken)), kept
