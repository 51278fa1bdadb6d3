"""The frozen backbone's features, computed once and kept on disk as memory-mapped files.

A cache folder belongs to one backbone and one list of pictures. It is filled batch by batch and
goes on where it was stopped, so that a kill costs one batch.
"""

import hashlib
import mmap
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from completelook.contract import (
    FEATURE_MAP_CHANNELS,
    POOLED_SIZE,
    REGIONS,
)
from completelook.errors import ImageError
from completelook.images import load_image, open_image
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from completelook_build import distributed
from completelook_build.backbones.resnet import Backbone
from completelook_build.console import progress_bar
from completelook_build.data import WHOLE_SCENE, Box
from completelook_build.errors import DataError

BATCH_SIZE = 16
_TO_DO, _DONE, _BROKEN = 0, 1, 2


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

    @property
    def fingerprint(self) -> str:
        """Changes when the part or the file does. Raises DataError where the file is gone."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise DataError(f"{self.path}: picture cannot be read ({error.strerror})") from error
        return f"{self.path.name}:{status.st_size}:{status.st_mtime_ns}:{self.box}"


class MappedArray:
    """A fixed-size array in a file, shared between processes and never whole in memory."""

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        with path.open("a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self.array: NDArray[np.generic] = np.frombuffer(self._map, dtype).reshape(shape)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """A copy of some rows. The pages read are given back, so that memory stays bounded."""
        picked = self.array[rows]
        self._map.madvise(mmap.MADV_DONTNEED)
        return picked

    def flush(self) -> None:
        """Write what changed to disk and give the pages back."""
        self._map.flush()
        self._map.madvise(mmap.MADV_DONTNEED)


class Features:
    """Pooled vectors [N, 2048] and, where asked for, regions [N, 196, 1024] of N pictures."""

    def __init__(self, folder: Path, count: int, *, with_regions: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._state = MappedArray(folder / "state.u8", np.uint8, (count,))
        self._pooled = MappedArray(folder / "pooled.f32", np.float32, (count, POOLED_SIZE))
        self._regions = (
            MappedArray(folder / "regions.f16", np.float16, (count, REGIONS, FEATURE_MAP_CHANNELS))
            if with_regions
            else None
        )

    def pooled(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Pooled vectors of some rows, [N, 2048]."""
        return torch.from_numpy(self._pooled.gather(rows))

    def regions(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Region features of some rows, FP32 [N, 196, 1024]."""
        if self._regions is None:
            raise ValueError("these features were extracted without regions")
        return torch.from_numpy(self._regions.gather(rows)).float()

    @property
    def broken(self) -> NDArray[np.bool_]:
        """Which pictures could not be read, [N]."""
        return np.asarray(self._state.array == _BROKEN)

    def missing(self) -> NDArray[np.int64]:
        """The rows still to be computed."""
        return np.flatnonzero(self._state.array == _TO_DO)

    def store(
        self, rows: NDArray[np.int64], feature_map: torch.Tensor, pooled: torch.Tensor
    ) -> None:
        """Keep the features of some rows; they count as done only once they are on disk."""
        self._pooled.array[rows] = pooled.numpy()
        self._pooled.flush()
        if self._regions is not None:
            regions = feature_map.flatten(2).transpose(1, 2)  # [B, 196, 1024]
            self._regions.array[rows] = regions.half().numpy()
            self._regions.flush()
        self._state.array[rows] = _DONE

    def mark_broken(self, rows: NDArray[np.int64]) -> None:
        """Remember that some pictures cannot be read."""
        self._state.array[rows] = _BROKEN


def extract(
    backbone: Backbone,
    pictures: Sequence[Picture],
    cache: Path,
    *,
    with_regions: bool,
    label: str,
) -> Features:
    """The features of pictures, from the cache where it has them.

    Several processes share the work and the cache.
    Raises DataError where a file is gone or the cache folder cannot be written.
    """
    folder = cache / _key(backbone, pictures, with_regions)
    try:
        features = Features(folder, len(pictures), with_regions=with_regions)
    except OSError as error:
        raise DataError(
            f"{folder}: the feature cache cannot be written ({error.strerror}); "
            "name another folder with --features DIR"
        ) from error
    missing = features.missing()
    distributed.barrier()  # before any process stores: all have to see the same rows missing
    missing = distributed.share(missing)
    if len(missing):
        with progress_bar(label, total=len(missing), unit="images") as advance:
            _fill(features, backbone, pictures, missing, advance)
    distributed.barrier()
    return features


def _fill(
    features: Features,
    backbone: Backbone,
    pictures: Sequence[Picture],
    missing: NDArray[np.int64],
    advance: Callable[[int], None],
) -> None:
    batches = [missing[start : start + BATCH_SIZE] for start in range(0, len(missing), BATCH_SIZE)]
    with ThreadPoolExecutor(max_workers=2) as decoders:
        # The next batch is decoded while this one goes through the backbone.
        ahead = [decoders.submit(load_readable, pictures[row]) for row in batches[0]]
        for batch, following in zip(batches, [*batches[1:], batches[0][:0]], strict=True):
            images = [future.result() for future in ahead]
            ahead = [decoders.submit(load_readable, pictures[row]) for row in following]
            _store_batch(features, backbone, batch, images)
            advance(len(batch))


def load_readable(picture: Picture) -> NDArray[np.uint8] | None:
    """A picture as the backbone takes it, None where it cannot be read."""
    try:
        return picture.load()
    except ImageError:
        return None


def _store_batch(
    features: Features,
    backbone: Backbone,
    rows: NDArray[np.int64],
    images: Sequence[NDArray[np.uint8] | None],
) -> None:
    readable = [image for image in images if image is not None]
    is_readable = np.array([image is not None for image in images])
    features.mark_broken(rows[~is_readable])
    if readable:
        with torch.inference_mode():
            images_on_device = torch.from_numpy(np.stack(readable)).to(distributed.device())
            feature_map, pooled, _ = backbone(images_on_device)
        features.store(rows[is_readable], feature_map.cpu(), pooled.cpu())


def _key(backbone: Backbone, pictures: Sequence[Picture], with_regions: bool) -> str:
    digest = hashlib.sha256(f"{backbone.id}:{with_regions}".encode())
    for picture in pictures:
        digest.update(picture.fingerprint.encode() + b"\0")
    return digest.hexdigest()[:16]
