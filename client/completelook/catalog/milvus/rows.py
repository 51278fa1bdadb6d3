"""Products as rows of a collection, and back: every cell as it was, whatever its type.

A collection's fields are the same for every shop. The shop's own cells are one JSON text, which
says exactly what they were; beside it stand facts, for Milvus to look for products by: numbers
in slots, and a token, a hash, for whatever a cell can be asked to be equal to.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.conditions import PART, is_missing
from completelook.catalog.selection import is_text
from completelook.errors import CatalogError
from completelook.products import Product, read_amount, read_moment, read_truth

MOST_BYTES = 65535  # of a text in Milvus
MOST_TOKENS = 1024
NUMBERS = tuple(f"number_{slot}" for slot in range(16))
_TEXTS = ("id", "category", "image")
# A slot without a number; a condition on a number asks for more than this as well.
NO_NUMBER = -1.7976931348623157e308
LARGEST = float(np.nextafter(-NO_NUMBER, 0))
# In place of a row's tokens where they are too many: it is to be looked at whatever is asked.
ANY_TOKEN = 0


@dataclass(frozen=True)
class Layout:
    """What the shop's columns are, and which of them have a slot."""

    schema: pa.Schema  # the shop's own columns
    slots: tuple[str, ...]  # the column of each slot, fixed when a collection is made

    @classmethod
    def of(cls, schema: pa.Schema) -> "Layout":
        """A new collection's: slots for numbers and dates, then for texts, which may say some."""
        ranked = [
            [field.name for field in schema if fits(field.type)] for fits in (_is_ordered, is_text)
        ]
        return cls(schema, tuple([name for names in ranked for name in names][: len(NUMBERS)]))

    def rows(
        self,
        products: Sequence[Product],
        embeddings: NDArray[np.float32],
        refused: dict[int, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Products and their embeddings [n, 128] as rows.

        One too large for Milvus is told to `refused`, by its place, or else a CatalogError.
        """
        cells = {
            field.name: pa.array(
                [product.columns.get(field.name) for product in products], field.type
            ).to_pylist()
            for field in self.schema
        }
        for place, (product, embedding) in enumerate(zip(products, embeddings, strict=True)):
            own = {name: each[place] for name, each in cells.items()}
            texts = _texts(product, own)
            if problem := _too_large(texts):
                if refused is None:
                    raise CatalogError(f"product {product.id!r}: {problem}")
                refused[place] = problem
                continue
            yield texts | self._facts(texts, own, embedding)

    def _facts(
        self, texts: Mapping[str, str], cells: Mapping[str, Any], embedding: NDArray[np.float32]
    ) -> dict[str, Any]:
        digest = hashlib.blake2b(json.dumps([*texts.values(), self.slots]).encode(), digest_size=8)
        digest.update(np.ascontiguousarray(embedding, np.float32).tobytes())
        numbers = dict.fromkeys(NUMBERS, NO_NUMBER)
        slots = zip(NUMBERS, self.slots, strict=False)
        numbers |= {number: _number(cells.get(name)) for number, name in slots}
        return {
            **numbers,
            "tokens": _tokens(cells),
            "digest": int.from_bytes(digest.digest(), "little", signed=True),
            "embedding": embedding,
        }

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The columns that conditions may be on, of some rows."""
        cells = [json.loads(row["cells"]) for row in rows]
        own = {
            field.name: _typed([_decoded(each.get(field.name)) for each in cells], field.type)
            for field in self.schema
        }
        texts = {name: pa.array([row[name] for row in rows], pa.string()) for name in _TEXTS}
        return texts | own

    def products(self, rows: Sequence[Mapping[str, Any]]) -> list[Product]:
        """The products of some rows."""
        columns = self.columns(rows)
        own = {field.name: columns[field.name].to_pylist() for field in self.schema}
        return [
            Product(
                id=row["id"],
                category=row["category"],
                image=row["image"],
                columns={name: cells[place] for name, cells in own.items()},
            )
            for place, row in enumerate(rows)
        ]

    def unified(self, products: Iterable[Product]) -> "Layout":
        """The layout with what some products bring. Raises CatalogError for another type."""
        cells: dict[str, list[Any]] = {}
        for product in products:
            for name, cell in product.columns.items():
                cells.setdefault(name, []).append(cell)
        if reserved := sorted({*_TEXTS, "embedding"} & set(cells)):
            raise CatalogError(f"{reserved} cannot be columns of the shop's own")
        try:
            new = pa.schema([(name, self._type_of(name, each)) for name, each in cells.items()])
        except pa.ArrowException as error:
            raise CatalogError(f"a column of values of several types: {error}") from error
        return self.with_columns(new)

    def with_columns(self, schema: pa.Schema) -> "Layout":
        """The layout with some columns more. Raises CatalogError for one of another type."""
        try:
            both = pa.unify_schemas([self.schema, schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise CatalogError(f"a column of another type: {error}") from error
        return Layout(both, self.slots)

    def _type_of(self, name: str, cells: list[Any]) -> Any:
        """The type that a column has where it gives these cells back as they are, or their own."""
        if name in self.schema.names:
            kind = self.schema.field(name).type
            try:
                if pa.array(cells, kind).to_pylist() == cells:
                    return kind
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                pass
        return pa.array(cells).type


def _texts(product: Product, cells: Mapping[str, Any]) -> dict[str, str]:
    encoded = {name: _encoded(name, cell) for name, cell in cells.items()}
    return {
        "id": product.id,
        "category": product.category,
        "image": product.image,
        "cells": json.dumps(encoded, ensure_ascii=False, separators=(",", ":")),
    }


def _too_large(texts: Mapping[str, str]) -> str:
    """Why Milvus cannot hold a row's texts; empty where it can."""
    for name, text in texts.items():
        if (size := len(text.encode())) > MOST_BYTES:
            what = "its columns take" if name == "cells" else f"its {name} takes"
            return f"{what} {size} bytes, and Milvus holds {MOST_BYTES}: leave a long column out"
    return ""


# Typed, since 1 is True to a cache; brands and sizes are the same in many rows.
@lru_cache(maxsize=1 << 14, typed=True)
def token(column: str, use: str, said: str | float | bool | date) -> int:
    """The hash of something that a cell of a column may be asked to be (`is`) or have (`has`).

    Two may share one: what Milvus finds by it is looked at again.
    """
    if isinstance(said, float):
        said = said + 0.0  # minus zero is zero
    text = "\0".join((column, use, type(said).__name__, str(said)))
    # Milvus's grammar has no smallest negative number.
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 2


@lru_cache(maxsize=1 << 12)
def _readings(text: str) -> tuple[float | bool | date, ...]:
    """What a text says to a condition: an amount, a day, yes or no."""
    amount, moment = read_amount(text), read_moment(text)
    found = [None if amount is None else float(amount.value), _day(moment), read_truth(text)]
    return tuple(each for each in found if each is not None)


def ordinal(moment: date) -> float:
    """A day as a number."""
    return float(moment.toordinal())


def _day(moment: date | None) -> date | None:
    return moment.date() if isinstance(moment, datetime) else moment


def _said(cell: Any) -> list[str | float | bool | date]:
    """All that a cell, or an element of a list, can be equal to."""
    if isinstance(cell, bool):
        return [cell]
    if isinstance(cell, int | float | Decimal):
        return [_as_float(cell)]
    if isinstance(cell, date):
        return [date(cell.year, cell.month, cell.day)]
    return [str(cell), *_readings(cell)] if isinstance(cell, str) else []


def _tokens(columns: Mapping[str, Any]) -> list[int]:
    tokens: set[int] = set()
    for name, cell in columns.items():
        if is_missing(cell):
            continue
        parts = cell if isinstance(cell, list | tuple) else []
        if isinstance(cell, str):
            parts = [part.strip() for part in PART.split(cell)]
        tokens.update(token(name, "is", said) for said in _said(cell))
        tokens.update(token(name, "has", said) for part in parts for said in _said(part))
    return sorted(tokens) if len(tokens) <= MOST_TOKENS else [ANY_TOKEN]


def _number(cell: Any) -> float:
    """What a cell is ordered by."""
    for said in [] if is_missing(cell) else _said(cell):
        if isinstance(said, date):
            return ordinal(said)
        if isinstance(said, float):
            return max(-LARGEST, min(said, LARGEST))
    return NO_NUMBER


def _as_float(number: float | Decimal) -> float:
    try:
        return float(number)
    except OverflowError:  # An int as large as that.
        return float("inf") if number > 0 else float("-inf")


def _is_ordered(kind: pa.DataType) -> bool:
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return bool(is_number or pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _is_plain(cell: Any) -> bool:
    """Whether JSON gives a cell back as it was."""
    if type(cell) is list:
        return all(map(_is_plain, cell))
    return cell is None or type(cell) in (str, bool, int, float)


def _encoded(name: str, cell: Any) -> Any:
    """A cell for JSON; what JSON does not know travels as Arrow has it."""
    if _is_plain(cell):
        return cell
    try:
        batch = pa.record_batch([pa.array([cell])], [name])
    except pa.ArrowException as error:
        raise CatalogError(f"column {name!r}: {error}") from error
    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_stream(stream, batch.schema) as writer:
            writer.write_batch(batch)
        content: Any = stream.getvalue()
    return {"arrow": base64.b64encode(content).decode()}


def _decoded(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    with pa.ipc.open_stream(base64.b64decode(cell["arrow"])) as reader:
        return reader.read_all().column(0)[0].as_py()


def _typed(cells: list[Any], kind: Any) -> Any:
    """Cells as a column of a type; while a column's type is being changed, some may not fit."""
    try:
        return pa.array(cells, kind)
    except pa.ArrowException:
        if len(cells) == 1:
            return pa.nulls(1, kind)
        return pa.concat_arrays([_typed([cell], kind) for cell in cells])
