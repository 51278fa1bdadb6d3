"""A picture or a part of one, and a key that changes when what it shows does."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from completelook.errors import ImageError
from completelook.images import load_image, open_image
from numpy.typing import NDArray
from PIL import Image

from completelook_build.data import WHOLE_SCENE, Box
from completelook_build.errors import DataError

_HASHING_THREADS = 4
_LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Picture:
    """A part of an image file."""

    path: Path
    box: Box = WHOLE_SCENE

    def load(self) -> NDArray[np.uint8]:
        """The part as the backbone takes it, [224, 224, 3]. Raises ImageError."""
        return load_image(self.path if self.box == WHOLE_SCENE else self.open())

    def open(self) -> Image.Image:
        """The part at its full size. Raises ImageError."""
        image = open_image(self.path)
        return image.crop(self.box.pixels(*image.size))

    def key(self, content: bytes) -> bytes:
        """What tells the part from every other, given the digest of the file's content."""
        return hashlib.sha256(content + repr(tuple(map(float, self.box))).encode()).digest()


def load_readable(picture: Picture) -> NDArray[np.uint8] | None:
    """A picture as the backbone takes it, None where it cannot be read."""
    try:
        return picture.load()
    except ImageError:
        return None


def content_digests(paths: Iterable[Path], known: Path) -> dict[Path, bytes]:
    """The SHA-256 digest of each file; those not known yet by path, size and time are read.

    `known` is a SQLite file that remembers them. Raises sqlite3.Error where it cannot be used, and
    DataError where a picture cannot.
    """
    versions = {path: _version(path) for path in dict.fromkeys(paths)}
    with transaction(known) as database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS files"
            " (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest BLOB) WITHOUT ROWID"
        )
        query = "SELECT digest FROM files WHERE path = ? AND size = ? AND mtime_ns = ?"
        rows = {path: database.execute(query, of).fetchone() for path, of in versions.items()}
    digests = {path: row[0] for path, row in rows.items() if row is not None}
    unknown = [path for path in versions if path not in digests]
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        read = dict(zip(unknown, pool.map(_digest, unknown), strict=True))
    if read:
        with transaction(known) as database:
            database.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                [(*versions[path], digest) for path, digest in read.items()],
            )
    return digests | read


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite file for oneself, other processes wait; rolled back where the block fails."""
    with closing(sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with database:
            yield database


def _version(path: Path) -> tuple[bytes, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: picture cannot be read ({error.strerror})") from error
    return os.fsencode(path.absolute()), status.st_size, status.st_mtime_ns


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path}: picture cannot be read ({error.strerror})") from error
