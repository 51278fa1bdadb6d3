"""How delimited text is written: encoding, delimiter, quotes, and where its header stands."""

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
from typing import IO, cast

from completelook.errors import TableError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}

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
# A carriage return that is not part of a line end.
BARE_RETURN = re.compile(r"\r(?!\n)")
# A cell that opens with a quote and goes on behind the closing one: quotes mean nothing there.
_LOOSE_QUOTE = re.compile(r'(?:^|\t)"(?:[^"]|"")*"(?![\t\r\n"]|\Z)', re.MULTILINE)


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written."""

    encoding: str
    has_broken_lines: bool  # some lines are not of this encoding
    has_bare_returns: bool  # lines end in \n, and cells hold \r, as pandas writes them
    delimiter: str
    quoted: bool
    names_separator: bool  # in a line before all others
    lines_before: int  # titles, remarks and empty ones, between that and the header
    header: tuple[str, ...]

    @property
    def encoding_name(self) -> str:
        """The encoding as people call it."""
        return _NAMES.get(self.encoding, self.encoding.upper())

    def describe(self) -> str:
        """The dialect in a few words, for the user to check."""
        told = f"read as {self.encoding_name}, columns separated by {DELIMITERS[self.delimiter]}"
        return f"{told}, header in row {self.lines_before + 1}" if self.lines_before else told


def find_dialect(path: Path) -> Dialect:
    """Settle encoding, delimiter and header by looking at the file. Raises TableError."""
    encoding, has_broken_lines = _find_encoding(path)
    with opened(path) as file, io.TextIOWrapper(file, encoding, "replace", newline="") as lines:
        text = lines.read(_SAMPLE_CHARACTERS)
    text, named = _without_separator_line(text)
    if not text.strip():
        raise TableError(f"{path}: is empty, it holds no header")
    delimiter = named or max(DELIMITERS, key=lambda each: _columns_found(text, each))
    quoted = delimiter != "\t" or not _LOOSE_QUOTE.search(text)
    records = list(islice(_records(text, delimiter, quoted=quoted), _SAMPLE_ROWS))
    lines_before, header, rows = _with_header(records)
    return Dialect(
        encoding=encoding,
        has_broken_lines=has_broken_lines,
        has_bare_returns=_has_bare_returns(path, encoding),
        delimiter=delimiter,
        quoted=quoted,
        names_separator=named is not None,
        lines_before=lines_before,
        header=(*header, *_unnamed(header, rows)),
    )


def _find_encoding(path: Path) -> tuple[str, bool]:
    """The encoding and whether some lines break it."""
    with opened(path) as file:
        start = file.read(4)
        for mark, encoding in _BYTE_ORDER_MARKS:
            if start.startswith(mark):
                return encoding, False
        if len(start) > 1 and 0 in start[:2]:
            return ("utf-16-be" if start[0] == 0 else "utf-16-le"), False
    good, broken = 0, 0
    with opened(path) as file:
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
    with opened(path) as file, io.TextIOWrapper(file, encoding, "replace", newline="\n") as lines:
        return not next(lines).endswith("\r\n") and any(map(BARE_RETURN.search, lines))


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
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


def _records(text: str, delimiter: str, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """The records of a text that are not empty, each with how many lines come before it."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(
        lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )
    while True:
        before = reader.line_num
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            return  # A cell longer than the sample.
        if record:
            yield before, record


def _with_header(
    records: list[tuple[int, list[str]]],
) -> tuple[int, list[str], list[list[str]]]:
    """How many lines come before the header, the header, and the records behind it.

    A title and a remark come before it: a record with one cell in it, or that begins `# so`.
    """
    places = [place for place, (_, record) in enumerate(records) if not _is_remark(record)] or [0]
    several = (place for place in places if sum(map(bool, map(str.strip, records[place][1]))) > 1)
    place = next(several, places[0])
    before, header = records[place]
    return before, header, [cells for _, cells in records[place + 1 :]]


def _is_remark(record: list[str]) -> bool:
    return record[0].startswith("#") and " " in record[0].strip()


def _unnamed(header: list[str], rows: list[list[str]]) -> list[str]:
    """Names, empty, for what most rows have behind the header's cells, where that is empty too."""
    behind = [row[len(header) :] for row in rows]
    longer = [len(cells) for cells in behind if cells and not any(map(str.strip, cells))]
    return [""] * max(longer) if 2 * len(longer) > len(rows) else []


def _columns_found(text: str, delimiter: str) -> tuple[int, float]:
    """How many columns a delimiter makes of the header, and how many rows agree with it."""
    records = list(islice(_records(text, delimiter, quoted=True), _SAMPLE_ROWS))
    if not records:
        return 0, 0.0
    _, header, rows = _with_header(records)
    agreeing = sum(len(row) == len(header) for row in rows)
    return len(header), (agreeing + 1) / (len(rows) + 1)
