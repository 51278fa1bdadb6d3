"""Indexing into Milvus: what changed is written, what left the table is taken out."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.milvus.address import Address
from completelook.catalog.milvus.collection import PAGE_ROWS, Collection
from completelook.catalog.milvus.rows import Layout
from completelook.catalog.milvus.server import MilvusServer
from completelook.catalog.milvus.store import MilvusCatalog
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

    def begin(self, shipment: Shipment, model_id: int, _: object) -> Shipment:
        """What has to be embedded. Raises ModelMismatch where another model's is added to."""
        if self._add:
            MilvusCatalog(str(self._address)).require_model(model_id, "the server")
        return shipment

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
            self._server, self._address, model_id=model_id, categories=categories, schema=schema
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
            for row in page:
                if row["id"] not in kept and self._shard.holds(row["id"]):
                    yield row["id"]


def _put(collection: Collection, page: pa.Table, embeddings: NDArray[np.float32]) -> dict[int, str]:
    """Write those that are new or changed; the places of those too large, and why."""
    layout = collection.description.layout
    collection.note(layout, map(str, page["category"]))
    refused: dict[int, str] = {}
    rows = list(layout.rows(_products(page, layout), embeddings, refused))
    there = collection.of_ids([row["id"] for row in rows], ["digest"])
    # One that is there under its digest is the same in every field.
    collection.upsert(
        row for row in rows if there.get(row["id"], {}).get("digest") != row["digest"]
    )
    return refused


def _products(page: pa.Table, layout: Layout) -> list[Product]:
    own = page.select(layout.schema.names).to_pylist()
    ids, categories, images = ([str(each) for each in page[name]] for name in _OWN)
    return [Product(*each) for each in zip(ids, categories, images, own, strict=True)]
