"""Indexing: from a table of products to a catalog, through the server."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from completelook.catalog.arrow import check_replaceable, format_model_id, write_catalog, writing
from completelook.catalog.categories import CategoryTable
from completelook.catalog.checkpoint import Checkpoint, Fingerprint
from completelook.catalog.products import read_products
from completelook.concurrency import Window
from completelook.contract import EMBEDDING_SIZE, IMAGE_SIZE
from completelook.errors import CatalogError, CategoryError, ImageError, ModelMismatch
from completelook.images.decode import ImageSource

OnError = Literal["skip", "fail"]

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
    products_path: str | Path,
    catalog_path: str | Path,
    look: Embedder,
    *,
    on_error: OnError = "skip",
    in_flight: int = 32,
) -> IndexReport:
    """Embed every product and write the catalog, showing progress on stderr.

    A category that the model knows is stored under the model's name, any other as it stands. A
    picture that cannot be read is skipped and listed in `FILE.failures.csv`, or, with "fail", an
    ImageError. A run that was cut off is taken up by the next one. The catalog that was there stays
    until the new one is whole. At most `in_flight` requests run at a time, fewer while the server
    is slow or refuses some.

    Raises TableError, ImageError, ServerError, CatalogError, ModelMismatch.
    """
    started_s = time.monotonic()
    path = Path(catalog_path)
    check_replaceable(path)
    products = read_products(products_path).table
    # A blank picture tells which weights answer, or that none do, before the work begins.
    model_id = look.embed_product(_BLANK).model_id
    categories = look.categories()
    products, unknown = _in_model_names(products, categories)
    with Checkpoint(checkpoint_path(path), model_id) as checkpoint:
        run = _Run(products, look, model_id, checkpoint, on_error, in_flight)
        run.embed_all()
    _write_failures(path, run.failures)
    _write(path, run, model_id, categories)
    checkpoint.remove()
    seconds = time.monotonic() - started_s
    indexed = len(products) - len(run.failures)
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

    def embed_all(self) -> None:
        """Embed what no earlier run has, many requests at a time for the server to batch."""
        rows = [row for row in range(len(self.products)) if not self._resume(row)]
        pool = ThreadPoolExecutor(self._window.most)
        try:
            with _progress() as progress:
                bar = progress.add_task("", total=len(self.products), completed=self.resumed)
                # Twice as many as threads: none of these ever waits for the next row.
                for finished in _as_completed(pool, self._embed, rows, 2 * self._window.most):
                    finished.result()
                    progress.advance(bar)
        finally:
            pool.shutdown(cancel_futures=True)
        self.failures = {row: self.failures[row] for row in sorted(self.failures)}

    def _resume(self, row: int) -> bool:
        embedding = self._checkpoint.find(self._images[row])
        if embedding is None:
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
        if product.model_id != self._model_id:
            raise ModelMismatch(
                f"the server went from model {format_model_id(self._model_id)} to "
                f"{format_model_id(product.model_id)} while it was indexing: "
                "run the same command again once all of it runs the same model"
            )
        self.embeddings[row] = product.embedding
        self._checkpoint.add(fingerprint, product.embedding)


def _as_completed(
    pool: ThreadPoolExecutor, call: Callable[[int], None], rows: Iterable[int], limit: int
) -> Iterator["Future[None]"]:
    """Finished calls in whatever order, so that a slow picture holds up no other.

    At most `limit` are under way at a time.
    """
    waiting = iter(rows)
    under_way = {pool.submit(call, row) for row in islice(waiting, limit)}
    while under_way:
        finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        yield from finished
        under_way |= {pool.submit(call, row) for row in islice(waiting, len(finished))}


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
    with writing(listing):
        csv.write_csv(pa.Table.from_pylist([asdict(each) for each in failures.values()]), listing)


def _progress() -> Progress:
    return Progress(
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,
    )


class _Speed(ProgressColumn):
    """Images per second, of late."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} images/s")
