"""Rows of a shop's table as they were read: the good ones, and the others with their reasons."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa


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
