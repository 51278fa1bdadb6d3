"""The store of the frozen backbone's features: a row for each picture, found by its key.

    DIR/index.sqlite    which row is whose
    DIR/pooled.f32      pooled vectors, [D] each
    DIR/regions.f16     where scenes are stored: regions, [196, C] each

Rows are appended with write(), synced, and only then named in the index, so that a full disk is an
error and a kill costs the batch that was being written. They are read through memory maps. Several
processes may use a store at once.
"""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from completelook.contract import REGIONS
from numpy.typing import DTypeLike, NDArray

from completelook_build.features.picture import transaction


class RowFile:
    """Rows of one shape in a flat file, never whole in memory."""

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        self._dtype, self._shape = np.dtype(dtype), shape
        self._row_bytes = int(np.prod(shape)) * self._dtype.itemsize
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._map: mmap.mmap | None = None
        self._array: NDArray[np.generic] = np.empty((0, *shape), self._dtype)

    def __len__(self) -> int:
        return os.fstat(self._descriptor).st_size // self._row_bytes

    def write(self, first: int, rows: NDArray[np.generic]) -> None:
        """Write rows from a place on, and sync them to disk. Raises OSError."""
        left = np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data
        offset = first * self._row_bytes
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written
        os.fsync(self._descriptor)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """A copy of some rows. The pages read are given back, so that memory stays bounded."""
        if len(rows) and rows.max() >= len(self._array):
            # Only as far as the file reaches: a page behind its end would be a signal, no error.
            self._map = mmap.mmap(
                self._descriptor, len(self) * self._row_bytes, access=mmap.ACCESS_READ
            )
            self._array = np.frombuffer(self._map, self._dtype).reshape(-1, *self._shape)
        picked = self._array[rows]
        if self._map is not None:
            self._map.madvise(mmap.MADV_DONTNEED)
        return picked

    def __del__(self) -> None:
        os.close(self._descriptor)


class FeatureStore:
    """The rows of one backbone, of pictures with regions where `channels` are given, or without.

    Raises OSError or sqlite3.Error where the folder cannot be used.
    """

    def __init__(self, folder: Path, *, pooled_size: int, channels: int | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._index = folder / "index.sqlite"
        with transaction(self._index) as index:
            index.execute(
                "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID"
            )
        self._pooled = RowFile(folder / "pooled.f32", np.float32, (pooled_size,))
        self._regions = (
            None
            if channels is None
            else RowFile(folder / "regions.f16", np.float16, (REGIONS, channels))
        )

    def rows(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """The row of each key, -1 where there is none, [N]."""
        files = [self._pooled] if self._regions is None else [self._pooled, self._regions]
        whole = min(map(len, files))  # rows behind the end of a file that was cut are gone
        with transaction(self._index) as index:
            found = dict(index.execute("SELECT key, row FROM rows WHERE row < ?", (whole,)))
        return np.array([found.get(key, -1) for key in keys], dtype=np.int64)

    def add(self, keys: Sequence[bytes], feature_map: torch.Tensor, pooled: torch.Tensor) -> None:
        """Keep the features of some keys, maps [B, C, 14, 14] and pooled vectors [B, D]."""
        with transaction(self._index) as index:
            [first] = index.execute("SELECT COALESCE(MAX(row) + 1, 0) FROM rows").fetchone()
            self._pooled.write(first, pooled.numpy())
            if self._regions is not None:
                regions = feature_map.flatten(2).transpose(1, 2)  # [B, 196, C]
                self._regions.write(first, regions.half().numpy())
            index.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?)",
                zip(keys, range(first, first + len(keys)), strict=True),
            )

    def pooled(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Pooled vectors of some rows, [N, D]."""
        return torch.from_numpy(self._pooled.gather(rows))

    def regions(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Region features of some rows, FP32 [N, 196, C]."""
        if self._regions is None:
            raise ValueError("these features were extracted without regions")
        return torch.from_numpy(self._regions.gather(rows)).float()


class Features:
    """The features of N pictures in V views: their rows of a store, in the pictures' order."""

    def __init__(self, store: FeatureStore, rows: NDArray[np.int64]) -> None:
        self._store = store
        self._rows = rows if rows.ndim == 2 else rows[:, None]  # [N, V]

    @property
    def views(self) -> int:
        """How many views of each picture there are; the first is the plain picture."""
        return self._rows.shape[1]

    def pooled(
        self, rows: NDArray[np.int64], views: NDArray[np.int64] | None = None
    ) -> torch.Tensor:
        """Pooled vectors of some pictures, in the views given or plain, [N, D]."""
        return self._store.pooled(self._rows[rows, 0 if views is None else views])

    def regions(
        self, rows: NDArray[np.int64], views: NDArray[np.int64] | None = None
    ) -> torch.Tensor:
        """Region features of some pictures, likewise, FP32 [N, 196, C]."""
        return self._store.regions(self._rows[rows, 0 if views is None else views])

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Which pictures could not be read, [N]."""
        broken: NDArray[np.bool_] = (self._rows < 0).any(axis=1)
        return broken
