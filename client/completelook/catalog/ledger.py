"""What has been embedded: a SQLite file beside a catalog, so that no picture is embedded twice.

It outlives the run that filled it. One that was killed goes on where it stopped, and the next
`index` embeds only what is new, changed or failed.
"""

import sqlite3
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError
from completelook.images import is_url

FLUSH_ROWS = 256
FLUSH_INTERVAL_S = 5.0

_FORMAT = 2
_TABLE = """
CREATE TABLE IF NOT EXISTS embedding (
    image TEXT PRIMARY KEY, size INTEGER, modified_ns INTEGER, vector BLOB, crc INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS model (id TEXT);
"""


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


class Ledger:
    """Embeddings of one model by fingerprint, for one process at a time."""

    def __init__(self, path: Path, model_id: int) -> None:
        """Take over what earlier runs of the same model left at `path`.

        A ledger of another model starts anew, and so does one that is damaged: it can be made
        again. Raises CatalogError where another process writes to it or nobody can.
        """
        self._path = path
        self._pending: dict[str, tuple[Fingerprint, NDArray[np.float32]]] = {}
        self._flushed_s = time.monotonic()
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._open(f"{model_id:016x}")
        except (OSError, sqlite3.OperationalError) as error:
            raise self._failure(error) from error
        except sqlite3.DatabaseError:
            path.unlink()
            self._database = self._open(f"{model_id:016x}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._lock:
                self._flush()
        finally:
            self._database.close()

    def find(self, image: str) -> NDArray[np.float32] | None:
        """The embedding [128] of an image, if it was embedded and has not changed since."""
        fingerprint = Fingerprint.of(image)
        with self._lock:
            return self._read(image, fingerprint)

    def vectors(self, images: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings [n, 128] of images as they were when they were embedded last.

        Raises CatalogError where one is not there any more, or damaged.
        """
        vectors = np.empty((len(images), EMBEDDING_SIZE), np.float32)  # [n, 128]
        with self._lock:
            self._flush()
            for place, image in enumerate(images):
                vector = self._read(image)
                if vector is None:
                    raise CatalogError(
                        f"{self._path}: the embedding of {image} was lost: run the same command "
                        "again"
                    )
                vectors[place] = vector
        return vectors

    def _read(self, image: str, wanted: Fingerprint | None = None) -> NDArray[np.float32] | None:
        """The embedding [128] of an image, where it is whole and of the wanted fingerprint."""
        try:
            row = self._database.execute(
                "SELECT image, size, modified_ns, vector, crc FROM embedding WHERE image = ?",
                (image,),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise CatalogError(
                f"{self._path}: damaged ({error}): delete it and run the same command again, "
                "which embeds everything anew"
            ) from error
        if row is None:
            return None
        *found, content, crc = row
        fingerprint = Fingerprint(*found)
        if _checksum(fingerprint, content) != crc or wanted not in (None, fingerprint):
            return None
        return np.frombuffer(content, np.float32)

    def add(self, fingerprint: Fingerprint, embedding: NDArray[np.float32]) -> None:
        """Keep the embedding [128] of an image, from any thread; it is written soon after."""
        with self._lock:
            self._pending[fingerprint.image] = (fingerprint, embedding)
            is_due = time.monotonic() - self._flushed_s > FLUSH_INTERVAL_S
            if is_due or len(self._pending) >= FLUSH_ROWS:
                self._flush()

    def _open(self, model_id: str) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=0, check_same_thread=False)
        try:
            # The lock is held until the connection is closed, also by a kill.
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.executescript(f"BEGIN EXCLUSIVE; {_TABLE} COMMIT;")
            known = database.execute("SELECT id FROM model").fetchone()
            if known != (f"{_FORMAT}:{model_id}",):
                with database:
                    database.execute("DELETE FROM embedding")
                    database.execute("DELETE FROM model")
                    database.execute("INSERT INTO model VALUES (?)", (f"{_FORMAT}:{model_id}",))
            return database
        except BaseException:
            database.close()
            raise

    def _flush(self) -> None:
        if self._pending:
            rows = [
                (*fingerprint, content, _checksum(fingerprint, content))
                for fingerprint, vector in self._pending.values()
                for content in [np.ascontiguousarray(vector, np.float32).tobytes()]
            ]
            try:
                with self._database:
                    self._database.executemany(
                        "INSERT OR REPLACE INTO embedding VALUES (?, ?, ?, ?, ?)", rows
                    )
            except sqlite3.Error as error:
                raise self._failure(error) from error
            self._pending.clear()
        self._flushed_s = time.monotonic()

    def _failure(self, error: Exception) -> CatalogError:
        if "locked" in str(error):
            return CatalogError(
                f"{self._path}: another `completelook index` is writing this catalog: wait until "
                "it is through, or stop it"
            )
        return CatalogError(f"{self._path}: cannot be written: {error}")


def _checksum(fingerprint: Fingerprint, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(repr(tuple(fingerprint)).encode("utf-8", "replace")))
