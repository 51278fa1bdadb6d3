"""A shipment: what a shop's products become before any is embedded, all problems told at once."""

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.categories import CategoryTable
from completelook.catalog.category_map import in_model_names, read_category_map
from completelook.catalog.shards import Shard
from completelook.images import is_url
from completelook.products import Products, ProductSource, Skip, only, read_products

# What people write in place of a path, behind the folder of the table.
_ADDRESS = re.compile(r"(?:^|/)(?:(data):|([a-z][a-z0-9+]+):/)", re.IGNORECASE)
_WINDOWS = re.compile(r"(?:^|/)[A-Za-z]:[\\/]|(?:^|/)\\\\")
_HOST = re.compile(r"(?:^|/)www\.[^/]+\.[a-z]{2,}/", re.IGNORECASE)


@dataclass(frozen=True)
class Shipment:
    """Products under the model's names of their categories, and those that cannot be indexed.

    What was given is `len(table) + len(skipped)`.
    """

    table: pa.Table  # id, image, category, then the shop's own
    rows: Sequence[int]  # of each product, as a spreadsheet counts them
    skipped: tuple[Skip, ...]
    unknown_categories: Mapping[str, int]  # products per category the model does not know
    categories: tuple[str, ...]  # the model's
    notes: tuple[str, ...]  # how the source was understood, a line each

    @property
    def rankable(self) -> int:
        """How many products are of a category that the model knows."""
        return self.table.num_rows - sum(self.unknown_categories.values())


def in_shard(shipment: Shipment, shard: Shard) -> Shipment:
    """The part of a shipment that is in a shard; with the others' it is the whole."""
    is_in = np.fromiter((shard.holds(str(each)) for each in shipment.table["id"]), np.bool_)
    table = only(shipment.table, is_in)
    counts = Counter(str(each) for each in table["category"])
    unknown = shipment.unknown_categories
    return replace(
        shipment,
        table=table,
        rows=array("q", compress(shipment.rows, is_in)),
        skipped=tuple(skip for skip in shipment.skipped if shard.holds(skip.id)),
        unknown_categories={name: counts[name] for name in unknown if counts[name]},
    )


def prepare(
    source: ProductSource,
    categories: tuple[str, ...],
    *,
    columns: Mapping[str, str] | None = None,
    category_map: Path | None = None,
) -> Shipment:
    """Read products (see `read_products`) and name their categories as the model does.

    `category_map` is a file as `completelook categories --map` drafts it. A picture's file that is
    not there is a skip like any other. Raises TableError.
    """
    products = read_products(source, columns)
    is_there = np.fromiter((_is_there(str(each)) for each in products.table["image"]), np.bool_)
    there, rows = products.table, products.rows
    if not is_there.all():
        there, rows = only(there, is_there), array("q", compress(rows, is_there))
    table = CategoryTable(categories)
    told = {} if category_map is None else read_category_map(category_map, table)
    given: Any = there["category"].dictionary_encode().combine_chunks()
    own: list[str] = given.dictionary.to_pylist()
    names = in_model_names(own, table, told)
    held = np.bincount(given.indices.to_numpy(), minlength=len(own)).tolist()
    counts = Counter(
        {name: count for name, count in zip(own, held, strict=True) if name not in names}
    )
    known = [names.get(name, name) for name in own]
    if known != own:
        place = there.column_names.index("category")
        there = there.set_column(
            place, "category", pa.array(known, pa.string()).take(given.indices)
        )
    return Shipment(
        table=there,
        rows=rows,
        skipped=_with_missing(products, is_there),
        unknown_categories=dict(counts.most_common()),
        categories=categories,
        notes=products.notes,
    )


def _is_there(image: str) -> bool:
    return is_url(image) or Path(image).is_file()


def _missing(image: str) -> str:
    if address := _ADDRESS.search(image):
        kind = address[1] or address[2]
        return f"an address of a kind that is not fetched: expected http or https, not {kind}"
    if _WINDOWS.search(image):
        return (
            "no such file here: it lies on a Windows drive, expected a path relative to the table"
        )
    if _HOST.search(image):
        return "no such file: does https:// stand before it?"
    return "no such file"


def _with_missing(products: Products, is_there: NDArray[np.bool_]) -> tuple[Skip, ...]:
    skips = list(products.skipped)
    for place in np.flatnonzero(~is_there).tolist():
        product_id, image = (str(products.table[name][place]) for name in ("id", "image"))
        skips.append(Skip(products.rows[place], product_id, image, _missing(image)))
    return tuple(sorted(skips, key=lambda skip: skip.row))
