"""One collection of a Milvus server: what it says of itself, its rows read and written in pages."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pyarrow as pa

from completelook.catalog.catalog import format_model_id
from completelook.catalog.categories import CategoryTable
from completelook.catalog.milvus.address import Address, IndexKind
from completelook.catalog.milvus.rows import MOST_BYTES, MOST_TOKENS, NUMBERS, Layout, token
from completelook.catalog.milvus.server import MilvusServer, quoted
from completelook.catalog.shards import Shard
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError

FORMAT = "1"
PAGE_ROWS = 1000  # read or written at once
PAGE_BYTES = 4 << 20  # of their texts; gRPC takes 64 MiB
_KEY = "completelook."
_HELD_KEY = f"{_KEY}category."
_DONE_KEY = f"{_KEY}done."


@dataclass(frozen=True)
class Description:
    """What a collection says of itself."""

    name: str
    model_id: int
    categories: CategoryTable
    index: IndexKind
    layout: Layout
    held: frozenset[str]  # every category that was ever put in
    done: frozenset[str]  # shards whose indexing is through

    @classmethod
    def read(cls, server: MilvusServer, address: Address, name: str) -> "Description":
        """Of a collection, or an alias of one. Raises CollectionMissing, CatalogError."""
        found = server.read("describe_collection", name)
        properties: Mapping[str, str] = found["properties"]
        if properties.get(f"{_KEY}format") != FORMAT:
            raise CatalogError(
                f"{address}: Milvus holds a collection {name!r}, but not one that "
                f"`completelook index` made in format {FORMAT}: give another name"
            )
        sizes = {field["name"]: field["params"].get("dim") for field in found["fields"]}
        if int(sizes.get("embedding") or 0) != EMBEDDING_SIZE:
            raise CatalogError(
                f"{address}: its embeddings are of {sizes.get('embedding')} numbers, expected "
                f"{EMBEDDING_SIZE}: index the products under another name"
            )
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(properties[f"{_KEY}schema"])))
        return cls(
            name=found["collection_name"],
            model_id=int(properties[f"{_KEY}model_id"], base=16),
            categories=CategoryTable(tuple(json.loads(properties[f"{_KEY}categories"]))),
            index="HNSW" if properties[f"{_KEY}index"] == "HNSW" else "FLAT",
            layout=Layout(schema, tuple(json.loads(properties[f"{_KEY}slots"]))),
            held=frozenset(name for key, name in properties.items() if key.startswith(_HELD_KEY)),
            done=frozenset(
                key.removeprefix(_DONE_KEY) for key in properties if key.startswith(_DONE_KEY)
            ),
        )

    def properties(self) -> dict[str, str]:
        """What `read` reads, but for `held` and `done`."""
        return {
            f"{_KEY}format": FORMAT,
            f"{_KEY}model_id": format_model_id(self.model_id),
            f"{_KEY}categories": json.dumps(self.categories.names, ensure_ascii=False),
            f"{_KEY}index": self.index,
            f"{_KEY}schema": _packed(self.layout.schema),
            f"{_KEY}slots": json.dumps(self.layout.slots, ensure_ascii=False),
        }


class Collection:
    """The rows of a collection of one model's products."""

    def __init__(self, server: MilvusServer, address: Address, description: Description) -> None:
        """A collection that is there."""
        self.description = description
        self._server = server
        self._address = address

    @classmethod
    def to_write(
        cls,
        server: MilvusServer,
        address: Address,
        *,
        model_id: int,
        categories: tuple[str, ...],
        schema: pa.Schema,
        add: bool = False,
    ) -> Self:
        """The collection of a model, made where it is not there; several may do so at once.

        Its columns become those of `schema`, or get them beside its own.
        """
        name = f"{address.name}_{format_model_id(model_id)}"
        new = Description(
            name=name,
            model_id=model_id,
            categories=CategoryTable(categories),
            index=address.index,
            layout=Layout.of(schema),
            held=frozenset(),
            done=frozenset(),
        )
        if not server.read("has_collection", name):
            try:
                _create(server, new)
            except CatalogError:
                if not server.read("has_collection", name):
                    raise
        found = Description.read(server, address, name)
        if found.index != address.index:
            raise CatalogError(
                f"{address}: its index is {found.index}, not {address.index}: keep to "
                f"?index={found.index.lower()}, or give another name"
            )
        # A process that was killed may have left it without these; both may be repeated.
        server.write("create_index", name, _index(found.index))
        server.write("load_collection", name)
        collection = cls(server, address, found)
        layout = collection.description.layout
        collection.note(layout.with_columns(schema) if add else replace(layout, schema=schema))
        return collection

    def note(self, layout: Layout, categories: Iterable[str] = ()) -> None:
        """Keep what rows that are about to be written bring: columns and categories."""
        unseen = frozenset(categories) - self.description.held
        properties = {f"{_HELD_KEY}{token('category', 'is', name)}": name for name in unseen}
        if layout.schema != self.description.layout.schema:
            properties[f"{_KEY}schema"] = _packed(layout.schema)
        if properties:
            self._server.write("alter_collection_properties", self.name, properties)
            self.description = replace(
                self.description, layout=layout, held=self.description.held | unseen
            )

    @property
    def name(self) -> str:
        """Its name in Milvus."""
        return self.description.name

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, in place of those of the same ids. Raises CatalogError."""
        for page in _pages(rows):
            self._server.write("upsert", self.name, page)

    def delete(self, ids: Iterable[str]) -> int:
        """Take rows out; how many there were. Raises CatalogError."""
        gone = 0
        for page in _chunks(list(dict.fromkeys(ids))):
            gone += len(self._query(_among(page), ["id"]))
            # By a filter: pymilvus puts ids into one without quoting them.
            self._server.write("delete", self.name, filter=_among(page))
            # Milvus 2.3 tells a session when its upsert took place, but not when its delete did.
            self.count(_among(page), consistency_level="Strong")
        return gone

    def count(self, filter_: str, **options: Any) -> int:
        """How many rows pass a filter. Raises CatalogError."""
        found = self._query(filter_, ["count(*)"], **options)
        return int(found[0]["count(*)"])

    def of_ids(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Some fields of the rows of some ids, those that are there."""
        pages = [self._query(_among(page), fields) for page in _chunks(ids)]
        return {row["id"]: row for page in pages for row in page}

    def all(
        self, filter_: str, fields: Sequence[str], **options: Any
    ) -> Iterator[list[dict[str, Any]]]:
        """Some fields of all rows that pass a filter, page by page in the order of their ids."""
        beyond = ""
        while page := self._query(
            " and ".join(filter(None, [filter_, beyond])), fields, limit=PAGE_ROWS, **options
        ):
            yield page
            if len(page) < PAGE_ROWS:
                return
            beyond = f"id > {quoted(page[-1]['id'])}"

    def nearest(
        self, queries: Any, filter_: str, limit: int, fields: Sequence[str]
    ) -> list[list[dict[str, Any]]]:
        """For each query [n, 128] the rows of the largest inner products, the largest first."""
        hnsw = {"ef": max(self._address.ef, limit)} if self.description.index == "HNSW" else {}
        found = self._server.read(
            "search",
            self.name,
            data=list(queries),
            filter=filter_,
            limit=limit,
            output_fields=list(fields),
            search_params={"metric_type": "IP", "params": hnsw},
        )
        return [
            [{**hit["entity"], "id": hit["id"], "similarity": hit["distance"]} for hit in hits]
            for hits in found
        ]

    def publish(self, shard: Shard) -> bool:
        """Note that a shard is through; once all are, the catalog's name means this collection."""
        self._server.write(
            "alter_collection_properties", self.name, {f"{_DONE_KEY}{shard}": "done"}
        )
        self.description = Description.read(self._server, self._address, self.name)
        if not {str(each) for each in shard.all()} <= self.description.done:
            return False
        alias = self._address.name
        earlier = self._server.read("list_aliases", "")["aliases"]
        if alias not in earlier:
            self._server.write("create_alias", self.name, alias)
            return True
        old = self._server.read("describe_collection", alias)["collection_name"]
        if old != self.name:
            self._server.write("alter_alias", self.name, alias)
            self._server.write("drop_collection", old)
        return True

    def _query(self, filter_: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        found = self._server.read(
            "query", self.name, filter=filter_, output_fields=list(fields), **options
        )
        return list(found)


def _create(server: MilvusServer, new: Description) -> None:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=MOST_BYTES)
    for name in ("category", "image", "cells"):
        schema.add_field(name, DataType.VARCHAR, max_length=MOST_BYTES)
    schema.add_field(
        "tokens", DataType.ARRAY, element_type=DataType.INT64, max_capacity=MOST_TOKENS
    )
    schema.add_field("digest", DataType.INT64)
    for name in NUMBERS:
        schema.add_field(name, DataType.DOUBLE)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=EMBEDDING_SIZE)
    server.write(
        "create_collection",
        new.name,
        schema=schema,
        # A process sees what it has written itself, at 4 ms; Strong waits 200 ms for all others'.
        consistency_level="Session",
        properties=new.properties(),
    )


def _index(kind: IndexKind) -> Any:
    from pymilvus import MilvusClient

    index = MilvusClient.prepare_index_params()
    built = {"M": 16, "efConstruction": 200} if kind == "HNSW" else {}
    index.add_index("embedding", index_type=kind, metric_type="IP", params=built)
    return index


def _packed(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _among(ids: Sequence[str]) -> str:
    return f"id in [{', '.join(map(quoted, ids))}]"


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), PAGE_ROWS):
        yield ids[start : start + PAGE_ROWS]


def _pages(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    page: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        page.append(row)
        size += len(row["cells"]) + len(row["image"])
        if len(page) == PAGE_ROWS or size > PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page
