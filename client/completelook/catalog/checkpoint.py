"""What an indexing run has embedded so far, kept in a file until the run is through."""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from completelook.catalog.arrow import EMBEDDING_TYPE, MODEL_ID_KEY, writing
from completelook.catalog.catalog import format_model_id
from completelook.contract import EMBEDDING_SIZE
from completelook.files import replacing, sync
from completelook.images import is_url

FLUSH_ROWS = 256
FLUSH_INTERVAL_S = 5.0

_COLUMNS: dict[str, pa.DataType] = {
    "image": pa.string(),
    "size": pa.int64(),
    "modified_ns": pa.int64(),
    "embedding": EMBEDDING_TYPE,
}


class Fingerprint(NamedTuple):
    """An image as it was when it was embedded; a URL has its name alone."""

    image: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, image: str) -> "Fingerprint":
        """The image's fingerprint now; a file that cannot be seen fits no other."""
        if is_url(image):
            return cls(image, 0, 0)
        try:
            status = Path(image).stat()
        except (OSError, ValueError):
            return cls(image, -1, -1)
        return cls(image, status.st_size, status.st_mtime_ns)


class Checkpoint:
    """Embeddings of one model by fingerprint, appended to a file as they come.

    The file is an Arrow stream: one that ends in the middle is read as far as it goes.
    """

    def __init__(self, path: Path, model_id: int) -> None:
        """Take over what an earlier run of the same model left at `path`. Raises CatalogError."""
        self._path = path
        self._schema = pa.schema(_COLUMNS, metadata={MODEL_ID_KEY: format_model_id(model_id)})
        batches = self._read()
        self._known = {
            fingerprint: vector for batch in batches for fingerprint, vector in _rows(batch)
        }
        self._pending: list[tuple[Fingerprint, NDArray[np.float32]]] = []
        self._flushed_s = time.monotonic()
        self._lock = threading.Lock()
        self._open(batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with writing(self._path), self._file, self._writer:
            self._flush()

    def find(self, image: str) -> NDArray[np.float32] | None:
        """The embedding [128] that an earlier run made of an image, if that has not changed."""
        return self._known.get(Fingerprint.of(image)) if self._known else None

    def add(self, fingerprint: Fingerprint, embedding: NDArray[np.float32]) -> None:
        """Keep the embedding [128] of an image, from any thread; it is written soon after."""
        with self._lock:
            self._pending.append((fingerprint, embedding))
            is_due = time.monotonic() - self._flushed_s > FLUSH_INTERVAL_S
            if is_due or len(self._pending) >= FLUSH_ROWS:
                self._flush()

    def remove(self) -> None:
        """Delete the file, once the catalog holds everything."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[pa.RecordBatch]:
        batches: list[pa.RecordBatch] = []
        if not self._path.is_file():
            return batches
        try:
            with pa.OSFile(str(self._path), "rb") as file, pa.ipc.open_stream(file) as reader:
                if reader.schema.equals(self._schema, check_metadata=True):
                    batches.extend(reader)
        except (pa.ArrowException, OSError):
            return batches  # The run was cut off while it wrote the rest.
        return batches

    def _open(self, batches: list[pa.RecordBatch]) -> None:
        """Start the file anew, since nothing can be appended to a stream that was cut off."""
        with writing(self._path), replacing(self._path) as beside:
            # Stays open beyond the block: what is appended goes to the same file under its name.
            self._file = pa.OSFile(str(beside), "wb")
            self._writer = pa.ipc.new_stream(self._file, self._schema)
            for batch in batches:
                self._writer.write_batch(batch)

    def _flush(self) -> None:
        if self._pending:
            fingerprints, vectors = zip(*self._pending, strict=True)
            values = pa.array(np.concatenate(vectors), pa.float32())  # [n * 128]
            columns = [pa.array(column) for column in zip(*fingerprints, strict=True)]
            embeddings = pa.FixedSizeListArray.from_arrays(values, EMBEDDING_SIZE)
            with writing(self._path):
                self._writer.write_batch(
                    pa.record_batch([*columns, embeddings], schema=self._schema)
                )
                sync(self._path)
            self._pending.clear()
        self._flushed_s = time.monotonic()


def _rows(batch: pa.RecordBatch) -> list[tuple[Fingerprint, NDArray[np.float32]]]:
    *columns, embeddings = batch.columns
    stored: Any = embeddings
    vectors = stored.flatten().to_numpy().reshape(-1, EMBEDDING_SIZE)  # [n, 128]
    fingerprints = zip(*(column.to_pylist() for column in columns), strict=True)
    return [
        (Fingerprint(*fingerprint), vector)
        for fingerprint, vector in zip(fingerprints, vectors, strict=True)
    ]
