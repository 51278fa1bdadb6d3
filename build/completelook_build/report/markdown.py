"""Markdown: tables, and the blocks of a page that a program writes between hand-written text."""

import re
from collections.abc import Iterable, Mapping, Sequence

from completelook_build.errors import DataError

_RULES = {"l": "---", "r": "---:"}


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, alignment: str | None = None
) -> str:
    """A table of Markdown, a line a row, with a newline at its end.

    `alignment` has a letter for each column, l or r; without it the first column is text on the
    left and the others are figures on the right. A cell may hold Markdown; a bar in it is escaped
    and a line break becomes a space. Raises ValueError for a row of another length.
    """
    letters = alignment or "l" + "r" * (len(headings) - 1)
    rules = [_RULES[letter] for letter in letters]
    lines = (headings, rules, *rows)
    for cells in lines:
        if len(cells) != len(headings):
            raise ValueError(f"{list(cells)}: expected {len(headings)} cells, one a heading")
    return "".join(f"| {' | '.join(map(_escaped, cells))} |\n" for cells in lines)


def _escaped(cell: str) -> str:
    return " ".join(cell.splitlines()).replace("|", r"\|")


def replace_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """A page with each block put between its `<!-- begin NAME -->` and `<!-- end NAME -->` lines.

    Raises DataError where the page has no such pair of lines.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", page, re.DOTALL)
        if found is None:
            raise DataError(f"the page has no lines {begin.strip()!r} and {end!r}; put them back")
        page = page[: found.start()] + begin + block + end + page[found.end() :]
    return page
