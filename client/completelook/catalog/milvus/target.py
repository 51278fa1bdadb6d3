"""Indexing into Milvus: what changed is written, what left the table is taken out."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.catalog import format_model_id
from completelook.catalog.milvus.address import Address
from completelook.catalog.milvus.collection import PAGE_ROWS, Collection, Description
from completelook.catalog.milvus.server import CollectionMissing, MilvusServer
from completelook.catalog.shards import Shard
from completelook.catalog.shipment import Shipment
from completelook.products import Product
from completelook.storage import Embeddings

_OWN = ("id", "category", "image")


class MilvusTarget:
    """A catalog in Milvus to index into, or one shard of it.

    May be done again at any point: what is there is known by its digest and left alone.
    """

    def __init__(self, address: Address, shard: Shard, *, add: bool = False) -> None:
        """Connect. Raises CatalogError."""
        self._address = address
        self._shard = shard
        self._add = add
        self._server = MilvusServer(address)

    def changing(self) -> AbstractContextManager[None]:
        """Several may write at once, each what the others do not."""
        return nullcontext()

    def begin(self, shipment: Shipment, model_id: int, notice: Callable[[str], None]) -> Shipment:
        """What has to be embedded: of another model's catalog that is added to, all it holds too.

        Raises CatalogError.
        """
        try:
            held = Description.read(self._server, self._address, self._address.name)
        except CollectionMissing:
            return shipment
        if held.model_id == model_id:
            return shipment
        if self._add:
            table = self._with_held(shipment.table, held)
            more = [0] * (table.num_rows - shipment.table.num_rows)  # of no row that was given
            shipment = replace(shipment, table=table, rows=(*shipment.rows, *more))
        notice(
            f"{self._address} is of another model than the server's, {format_model_id(model_id)}: "
            f"all {shipment.table.num_rows} products are embedded anew"
        )
        return shipment

    def _with_held(self, products: pa.Table, held: Description) -> pa.Table:
        given = {str(each) for each in products["id"]}
        tables = [products]
        pages = Collection(self._server, self._address, held).all(
            "", (*_OWN, "cells"), consistency_level="Strong"
        )
        for page in pages:
            rows = [row for row in page if self._is_left(row["id"], given)]
            tables.append(pa.table(held.layout.columns(rows)))
        return pa.concat_tables(tables, promote_options="permissive")

    def write(
        self,
        products: pa.Table,
        embeddings: Embeddings,
        *,
        model_id: int,
        categories: tuple[str, ...],
    ) -> dict[int, str]:
        """Make products and their embeddings all that the catalog, or the shard, holds.

        When they are added, the rest stays.

        Returns the rows that Milvus cannot hold, and why. Raises CatalogError.
        """
        schema = pa.schema([field for field in products.schema if field.name not in _OWN])
        collection = Collection.to_write(
            self._server,
            self._address,
            model_id=model_id,
            categories=categories,
            schema=schema,
            add=self._add,
        )
        # Once, so that what others have written until now is seen by the reads that follow.
        collection.count("", consistency_level="Strong")
        refused: dict[int, str] = {}
        for start in range(0, len(products), PAGE_ROWS):
            page = products.slice(start, PAGE_ROWS)
            problems = _put(collection, page, embeddings(np.arange(start, start + len(page))))
            refused |= {start + place: reason for place, reason in problems.items()}
        if not self._add:
            ids = [str(each) for each in products["id"]]
            kept = set(ids) - {ids[place] for place in refused}
            collection.delete(list(self._left(collection, kept)))
        collection.publish(self._shard)
        return refused

    def _left(self, collection: Collection, kept: set[str]) -> Iterator[str]:
        """The ids of what is held and no longer in the table."""
        for page in collection.all("", ["id"], consistency_level="Strong"):
            yield from (row["id"] for row in page if self._is_left(row["id"], kept))

    def _is_left(self, product_id: str, given: set[str]) -> bool:
        return product_id not in given and self._shard.holds(product_id)


def _put(collection: Collection, page: pa.Table, embeddings: NDArray[np.float32]) -> dict[int, str]:
    """Write those that are new or changed; the places of those too large, and why."""
    layout = collection.description.layout
    collection.note(layout, map(str, page["category"]))
    refused: dict[int, str] = {}
    rows = list(layout.rows(_products(page), embeddings, refused))
    there = collection.of_ids([row["id"] for row in rows], ["digest"])
    # One that is there under its digest is the same in every field.
    collection.upsert(
        row for row in rows if there.get(row["id"], {}).get("digest") != row["digest"]
    )
    return refused


def _products(page: pa.Table) -> list[Product]:
    own = page.drop_columns(list(_OWN)).to_pylist()
    ids, categories, images = ([str(each) for each in page[name]] for name in _OWN)
    return [Product(*each) for each in zip(ids, categories, images, own, strict=True)]
