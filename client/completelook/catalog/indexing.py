"""Indexing: from a table of products to a catalog, through the server."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from completelook.catalog.arrow import check_replaceable, write_catalog, writing
from completelook.catalog.catalog import format_model_id
from completelook.catalog.categories import CategoryTable
from completelook.catalog.checkpoint import Checkpoint, Fingerprint
from completelook.catalog.products import ProductSource, read_products
from completelook.concurrency import Window, map_as_completed
from completelook.contract import EMBEDDING_SIZE, IMAGE_SIZE
from completelook.errors import (
    CatalogError,
    CategoryError,
    ContractError,
    ImageError,
    ModelMismatch,
)
from completelook.files import replacing
from completelook.images import ImageSource

OnError = Literal["skip", "fail"]
Progress = Callable[[int, int], None]  # called with how many products are done, and of how many

_BLANK = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)


class Embedding(Protocol):
    """What the server says of one product."""

    @property
    def embedding(self) -> NDArray[np.float32]:
        """The product's place in the style space, [128]."""

    @property
    def model_id(self) -> int:
        """Which weights made it."""


class Embedder(Protocol):
    """The part of CompleteLook that indexing needs."""

    def categories(self) -> tuple[str, ...]:
        """The model's category names."""

    def embed_product(self, source: ImageSource, /) -> Embedding:
        """Raises ImageError, ServerError."""


@dataclass(frozen=True)
class Failure:
    """A product that was skipped, and why."""

    id: str
    image: str
    reason: str


@dataclass(frozen=True)
class IndexReport:
    """What an indexing run did."""

    indexed: int  # products in the catalog
    resumed: int  # of these, embedded by an earlier run that was cut off
    failures: tuple[Failure, ...]
    unknown_categories: Mapping[str, int]  # products per category the model does not know
    seconds: float
    images_per_s: float  # of the images embedded by this run


def failures_path(catalog_path: str | Path) -> Path:
    """Where an indexing run lists the products it skipped."""
    return Path(f"{catalog_path}.failures.csv")


def checkpoint_path(catalog_path: str | Path) -> Path:
    """Where an indexing run keeps what it has embedded until it is through."""
    return Path(f"{catalog_path}.partial")


def index(
    products: ProductSource,
    catalog_path: str | Path,
    look: Embedder,
    *,
    on_error: OnError = "skip",
    in_flight: int = 32,
    progress: Progress | None = None,
) -> IndexReport:
    """Embed every product and write the catalog.

    Products come as the path of a table or a folder (see `read_products`), as a pyarrow, pandas or
    polars table, or one by one as `Product`s or mappings. `progress` is called with the number of
    products done and of all, first with those that an earlier run has done.

    A category that the model knows is stored under the model's name, any other as it stands. A
    picture that cannot be read is skipped and listed in `FILE.failures.csv`, or, with "fail", an
    ImageError. A run that was cut off is taken up by the next one. The catalog that was there stays
    until the new one is whole. At most `in_flight` requests run at a time, fewer while the server
    is slow or refuses some.

    Raises TableError, ImageError, ServerError, CatalogError, ModelMismatch, and ContractError for a
    product whose embedding is not finite.
    """
    started_s = time.monotonic()
    path = Path(catalog_path)
    check_replaceable(path)
    table = read_products(products).table
    # A blank picture tells which weights answer, or that none do, before the work begins.
    model_id = look.embed_product(_BLANK).model_id
    categories = look.categories()
    table, unknown = _in_model_names(table, categories)
    with Checkpoint(checkpoint_path(path), model_id) as checkpoint:
        run = _Run(table, look, model_id, checkpoint, on_error, in_flight)
        run.embed_all(progress or _unseen)
    _write_failures(path, run.failures)
    _write(path, run, model_id, categories)
    checkpoint.remove()
    seconds = time.monotonic() - started_s
    indexed = len(table) - len(run.failures)
    return IndexReport(
        indexed=indexed,
        resumed=run.resumed,
        failures=tuple(run.failures.values()),
        unknown_categories=unknown,
        seconds=seconds,
        images_per_s=(indexed - run.resumed) / seconds,
    )


class _Run:
    """One pass over the products: embeddings and failures by row."""

    def __init__(
        self,
        products: pa.Table,
        look: Embedder,
        model_id: int,
        checkpoint: Checkpoint,
        on_error: OnError,
        in_flight: int,
    ) -> None:
        self.products = products
        self.embeddings = np.empty((len(products), EMBEDDING_SIZE), np.float32)  # [N, 128]
        self.failures: dict[int, Failure] = {}
        self.resumed = 0
        self._look = look
        self._model_id = model_id
        self._checkpoint = checkpoint
        self._on_error = on_error
        self._window = Window(in_flight)
        self._ids: list[Any] = products["id"].to_pylist()
        self._images: list[Any] = products["image"].to_pylist()

    def embed_all(self, progress: Progress) -> None:
        """Embed what no earlier run has, many requests at a time for the server to batch."""
        rows = [row for row in range(len(self.products)) if not self._resume(row)]
        progress(self.resumed, len(self.products))
        # In whatever order they come, so that a slow picture holds up no other.
        calls = map_as_completed(self._embed, rows, in_flight=self._window.most)
        for done, _ in enumerate(calls, start=self.resumed + 1):
            progress(done, len(self.products))
        self.failures = {row: self.failures[row] for row in sorted(self.failures)}

    def _resume(self, row: int) -> bool:
        embedding = self._checkpoint.find(self._images[row])
        if embedding is None or not np.isfinite(embedding).all():
            return False
        self.embeddings[row] = embedding
        self.resumed += 1
        return True

    def _embed(self, row: int) -> None:
        """Keep an answer as soon as it is there, so that another product's failure loses none."""
        image = self._images[row]
        # Taken first: a picture that changes while it is read must not pass for the new one.
        fingerprint = Fingerprint.of(image)
        try:
            product = self._window.run(lambda: self._look.embed_product(image))
        except ImageError as error:
            if self._on_error == "fail":
                raise ImageError(f"product {self._ids[row]!r}: {error}") from error
            self.failures[row] = Failure(self._ids[row], image, str(error))
            return
        except ContractError as error:
            raise ContractError(f"product {self._ids[row]!r}: {error}") from error
        if product.model_id != self._model_id:
            raise ModelMismatch(
                f"the server went from model {format_model_id(self._model_id)} to "
                f"{format_model_id(product.model_id)} while it was indexing: "
                "run the same command again once all of it runs the same model"
            )
        if not np.isfinite(product.embedding).all():
            raise ContractError(
                f"product {self._ids[row]!r}: the server's embedding of {image} is not finite: "
                "export the model again with `completelook-build export` and restart the server"
            )
        self.embeddings[row] = product.embedding
        self._checkpoint.add(fingerprint, product.embedding)


def _in_model_names(
    products: pa.Table, categories: tuple[str, ...]
) -> tuple[pa.Table, dict[str, int]]:
    """The products with the model's names for their categories, and a count of the others."""
    given: list[Any] = products["category"].to_pylist()
    counts = Counter(given)
    table = CategoryTable(categories)
    names: dict[str, str] = {}
    for name in counts:
        try:
            names[name] = categories[table.resolve(name)]
        except CategoryError:
            continue  # Embedding needs no category: the model may learn this one later.
    unknown = {name: count for name, count in counts.most_common() if name not in names}
    known = pa.array([names.get(name, name) for name in given], pa.string())
    position = products.column_names.index("category")
    return products.set_column(position, "category", known), unknown


def _write(path: Path, run: _Run, model_id: int, categories: tuple[str, ...]) -> None:
    if len(run.failures) == len(run.products):
        first = next(iter(run.failures.values()))
        raise CatalogError(
            f"{path}: none of the {len(run.products)} products could be indexed, "
            f"{failures_path(path)} says why; the first: {first.reason}"
        )
    kept = [row for row in range(len(run.products)) if row not in run.failures]
    write_catalog(
        path,
        run.products.take(kept),
        run.embeddings[kept],  # [n, 128]
        model_id=model_id,
        categories=categories,
    )


def _write_failures(path: Path, failures: Mapping[int, Failure]) -> None:
    """List the failures beside the catalog; without any, remove an earlier run's list."""
    listing = failures_path(path)
    if not failures:
        listing.unlink(missing_ok=True)
        return
    with writing(listing), replacing(listing) as beside:
        csv.write_csv(pa.Table.from_pylist([asdict(each) for each in failures.values()]), beside)


def _unseen(done: int, total: int) -> None:
    """Progress that nobody asked to see."""
