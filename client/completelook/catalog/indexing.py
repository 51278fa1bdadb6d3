"""Indexing: from a table of products to a catalog, through the server."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from completelook.catalog.arrow import ArrowCatalog, write_products
from completelook.catalog.catalog import Embedder, format_model_id
from completelook.catalog.ledger import Fingerprint, Ledger
from completelook.catalog.milvus import MilvusTarget, is_milvus, parse_address
from completelook.catalog.shards import WHOLE, Shard
from completelook.catalog.shipment import Shipment, in_shard, prepare
from completelook.concurrency import Window, map_as_completed
from completelook.contract import IMAGE_SIZE
from completelook.errors import (
    CatalogError,
    ContractError,
    ImageError,
    ModelMismatch,
    TableError,
    UsageError,
)
from completelook.files import replacing
from completelook.products import ProductSource, Skip, only, taken
from completelook.storage import Embeddings, are_unit, changing, check_replaceable, writing

OnError = Literal["skip", "fail"]
Progress = Callable[[int, int], None]  # called with how many products are done, and of how many

_BLANK = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


@dataclass(frozen=True)
class IndexReport:
    """What an indexing run did."""

    indexed: int  # products in the catalog; with the skipped, all that were given
    reused: int  # of these, embedded by an earlier run and the same since
    skipped: tuple[Skip, ...]
    unknown_categories: Mapping[str, int]  # products per category the model does not know
    seconds: float
    images_per_s: float  # of the images embedded by this run


def failures_path(catalog: str | Path, shard: Shard = WHOLE) -> Path:
    """Where an indexing run lists the products it skipped."""
    return Path(f"{_file_of(catalog, shard)}.failures.csv")


def ledger_path(catalog: str | Path, shard: Shard = WHOLE) -> Path:
    """Where indexing keeps what it has embedded, for the next run."""
    return Path(f"{_file_of(catalog, shard)}.ledger")


def _file_of(catalog: str | Path, shard: Shard) -> Path:
    """The file of an Arrow catalog's shard; for one in Milvus a name in the working folder."""
    in_milvus = is_milvus(catalog)
    return shard.part(Path(f"{parse_address(str(catalog)).name}.milvus" if in_milvus else catalog))


def index(
    products: ProductSource | Shipment,
    catalog: str | Path,
    look: Embedder,
    *,
    shard: Shard = WHOLE,
    add: bool = False,
    half: bool = False,
    on_error: OnError = "skip",
    in_flight: int = 32,
    progress: Progress | None = None,
    notice: Callable[[str], None] | None = None,
) -> IndexReport:
    """Embed every product, or those of a shard, and write the catalog.

    Products come as `prepare` leaves them, or as it takes them. With `add`, what the catalog holds
    beside them stays. With `half`, a new file has its embeddings in half precision. `progress` is
    called with the number of products done and of all, first with those that an earlier run has
    done, and `notice` before a file of another model is embedded anew.

    A category that the model knows is stored under the model's name, any other as it stands. What
    cannot be indexed is skipped and listed in `FILE.failures.csv`, or, with "fail", an error. What
    an earlier run has embedded is not embedded again, unless its picture or the model has changed;
    a run that was cut off is taken up by the next one. The catalog that was there stays until the
    new one is whole; in Milvus, products take their places one by one. At most `in_flight` requests
    run at a time, fewer while the server is slow or refuses some.

    Raises TableError, ImageError, ServerError, CatalogError, ModelMismatch, and ContractError for a
    product whose embedding is no unit vector.
    """
    started_s = time.monotonic()
    target = _target(catalog, shard, add=add, half=half)
    if not isinstance(products, Shipment):
        products = prepare(products, look.categories())
    if shard != WHOLE:
        products = in_shard(products, shard)
    if on_error == "fail" and products.skipped:
        first = products.skipped[0]
        raise TableError(
            f"row {first.row}: {first.reason}, and {len(products.skipped) - 1} more that cannot be "
            "indexed: mend them, or leave them out with --on-error skip"
        )
    pa.default_memory_pool().release_unused()  # what preparing has left there
    # A blank picture tells which weights answer, or that none do, before the work begins.
    model_id = look.embed_product(_BLANK).model_id
    with target.changing(), Ledger(ledger_path(catalog, shard), model_id) as ledger:
        products = target.begin(products, model_id, notice or _unseen)
        run = _Run(products, look, model_id, ledger, on_error, in_flight)
        run.embed_all(progress or _unseen)
        listing = failures_path(catalog, shard)
        skipped = _all_skipped(products, run)
        if skipped and len(run.skips) == len(run.products):
            _write_failures(listing, skipped)
            raise CatalogError(
                f"{catalog}: none of the {len(skipped)} products could be indexed, {listing} says "
                f"why; the first: {skipped[0].reason}"
            )
        _write(target, run, products.categories)
        skipped = _all_skipped(products, run)
        _write_failures(listing, skipped)
    seconds = time.monotonic() - started_s
    indexed = products.table.num_rows - len(run.skips)
    return IndexReport(
        indexed=indexed,
        reused=run.reused,
        skipped=skipped,
        unknown_categories=products.unknown_categories,
        seconds=seconds,
        images_per_s=(indexed - run.reused) / seconds,
    )


class _Run:
    """One pass over the products: what the ledger lacks is embedded, failures kept by row."""

    def __init__(
        self,
        shipment: Shipment,
        look: Embedder,
        model_id: int,
        ledger: Ledger,
        on_error: OnError,
        in_flight: int,
    ) -> None:
        self.products = shipment.table
        self.model_id = model_id
        self.ledger = ledger
        self.skips: dict[int, Skip] = {}
        self.reused = 0
        self._look = look
        self._on_error = on_error
        self._window = Window(in_flight)
        self._rows = shipment.rows

    def embed_all(self, progress: Progress) -> None:
        """Embed what no earlier run has, many requests at a time for the server to batch."""
        images: Any = self.products["image"]
        is_known = np.fromiter((self._knows(str(image)) for image in images), np.bool_)
        rows = np.flatnonzero(~is_known)
        self.reused = len(self.products) - len(rows)
        progress(self.reused, len(self.products))
        # In whatever order they come, so that a slow picture holds up no other.
        calls = map_as_completed(self._embed, map(int, rows), in_flight=self._window.most)
        for done, _ in enumerate(calls, start=self.reused + 1):
            progress(done, len(self.products))

    def skip(self, row: int, reason: str) -> None:
        """Leave a product out."""
        self.skips[row] = Skip(self._rows[row], *self._product(row), reason)

    def _product(self, row: int) -> tuple[str, str]:
        """The id and the image of a product."""
        return str(self.products["id"][row]), str(self.products["image"][row])

    def _knows(self, image: str) -> bool:
        embedding = self.ledger.find(image)
        return embedding is not None and bool(are_unit(embedding[np.newaxis])[0])

    def _embed(self, row: int) -> None:
        """Keep an answer as soon as it is there, so that another product's failure loses none."""
        product_id, image = self._product(row)
        # Taken first: a picture that changes while it is read must not pass for the new one.
        fingerprint = Fingerprint.of(image)
        try:
            product = self._window.run(lambda: self._look.embed_product(image))
        except ImageError as error:
            if self._on_error == "fail":
                raise ImageError(f"product {product_id!r}: {error}") from error
            self.skip(row, str(error))
            return
        except ContractError as error:
            raise ContractError(f"product {product_id!r}: {error}") from error
        if product.model_id != self.model_id:
            raise ModelMismatch(
                f"the server went from model {format_model_id(self.model_id)} to "
                f"{format_model_id(product.model_id)} while it was indexing: "
                "run the same command again once all of it runs the same model"
            )
        if not are_unit(product.embedding[np.newaxis])[0]:
            length = np.linalg.norm(product.embedding)
            raise ContractError(
                f"product {product_id!r}: the server's embedding of {image} has the length "
                f"{length:.4g}, expected 1: export the model again with "
                "`completelook-build export` and restart the server"
            )
        self.ledger.add(fingerprint, product.embedding)


def _all_skipped(shipment: Shipment, run: _Run) -> tuple[Skip, ...]:
    skips = (*shipment.skipped, *run.skips.values())
    return tuple(sorted(skips, key=lambda skip: skip.row))


class _ArrowTarget:
    """A catalog's file, or a shard's part of it."""

    def __init__(self, path: Path, *, add: bool, half: bool) -> None:
        check_replaceable(path)
        self._path = path
        self._add = add
        self._half = half
        self._earlier: ArrowCatalog | None = None  # what is added to

    def changing(self) -> AbstractContextManager[None]:
        """Be the one that writes it. Raises CatalogError where another is."""
        return changing(self._path)

    def begin(self, shipment: Shipment, model_id: int, notice: Callable[[str], None]) -> Shipment:
        """What has to be embedded: of another model's file that is added to, all it holds too."""
        earlier = self._opened()
        if earlier is None:
            return shipment
        if earlier.model_id == model_id:
            self._earlier = earlier if self._add else None
            return shipment
        if self._add:
            table = earlier.with_all(shipment.table)
            more = [0] * (table.num_rows - shipment.table.num_rows)  # of no row that was given
            shipment = replace(shipment, table=table, rows=(*shipment.rows, *more))
        notice(
            f"{self._path} is of another model than the server's, {format_model_id(model_id)}: "
            f"all {shipment.table.num_rows} products are embedded anew"
        )
        return shipment

    def _opened(self) -> ArrowCatalog | None:
        """The file that is there; one that cannot be opened matters to who adds to it alone."""
        if not self._path.exists():
            return None
        try:
            return ArrowCatalog(self._path)
        except CatalogError:
            if self._add:
                raise
            return None

    def write(
        self,
        products: pa.Table,
        embeddings: Embeddings,
        *,
        model_id: int,
        categories: tuple[str, ...],
    ) -> dict[int, str]:
        """Put products in the place of all that was there, or beside it; it can hold any."""
        if self._earlier is not None:
            self._earlier.upsert_table(products, embeddings)
        elif len(products):
            write_products(
                self._path,
                products,
                embeddings,
                model_id=model_id,
                categories=categories,
                half=self._half,
            )
        else:
            self._path.unlink(missing_ok=True)
        return {}


def _target(
    catalog: str | Path, shard: Shard, *, add: bool, half: bool
) -> _ArrowTarget | MilvusTarget:
    if is_milvus(catalog):
        if half:
            raise UsageError(f"{catalog}: half precision is for files: leave --half out")
        return MilvusTarget(parse_address(str(catalog)), shard, add=add)
    return _ArrowTarget(_file_of(catalog, shard), add=add, half=half)


def _write(target: _ArrowTarget | MilvusTarget, run: _Run, categories: tuple[str, ...]) -> None:
    """Write what was embedded, taken from the ledger a part at a time.

    What the target cannot hold is skipped as well.
    """
    is_kept = np.ones(len(run.products), np.bool_)
    is_kept[[*run.skips]] = False
    products = only(run.products, is_kept)
    images: Any = products["image"]

    def embeddings(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return run.ledger.vectors(taken(images, rows).to_pylist())  # [n, 128]

    refused = target.write(products, embeddings, model_id=run.model_id, categories=categories)
    kept = np.flatnonzero(is_kept)
    for place, reason in refused.items():
        run.skip(int(kept[place]), reason)


def _write_failures(listing: Path, skipped: tuple[Skip, ...]) -> None:
    """List what was skipped beside the catalog; without any, remove an earlier run's list."""
    if not skipped:
        listing.unlink(missing_ok=True)
        return
    with writing(listing), replacing(listing) as beside:
        csv.write_csv(pa.Table.from_pylist([asdict(skip) for skip in skipped]), beside)


def _unseen(*_: object) -> None:
    """Progress that nobody asked to see."""
