"""Features of pictures, each computed once: whoever asks next finds it in the store.

CACHE/pictures.sqlite          digests of picture files
CACHE/BACKBONE-D[-C]/          the stores of a backbone: products without regions, scenes with
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from completelook_build import distributed
from completelook_build.backbones import Backbone
from completelook_build.console import progress_bar, say
from completelook_build.errors import DataError
from completelook_build.features.picture import Picture, content_digests, load_readable
from completelook_build.features.store import Features, FeatureStore

BATCH_SIZE = 16
_NAMED = 5  # pictures that cannot be read


def extract(
    backbone: Backbone,
    pictures: Sequence[Picture],
    cache: Path,
    *,
    with_regions: bool,
    label: str,
) -> Features:
    """The features of pictures, from the store where it has them.

    A picture that cannot be read is named, left out, and tried again next time. Several processes
    share the work and the store. Raises DataError where a file is gone or the cache cannot be used.
    """
    pooled_size = backbone.card.pooled_size
    channels = backbone.card.channels if with_regions else None
    size = f"{pooled_size}-{channels}" if with_regions else f"{pooled_size}"
    with _cache_errors(cache):
        store = FeatureStore(
            cache / f"{backbone.id:016x}-{size}", pooled_size=pooled_size, channels=channels
        )
        keys = picture_keys(pictures, cache)
        missing = _first_of_each(keys, store.rows(keys))
        distributed.barrier()  # before any process adds: all have to see the same rows missing
        missing = distributed.share(missing)
        if len(missing):
            with progress_bar(label, total=len(missing), unit="images") as advance:
                _fill(store, backbone, pictures, keys, missing, advance)
        distributed.barrier()
        features = Features(store, store.rows(keys))
    _name_broken(pictures, features.broken)
    return features


def picture_keys(pictures: Sequence[Picture], cache: Path) -> list[bytes]:
    """The key of each picture; the processes share the reading of the files."""
    known = cache / "pictures.sqlite"
    paths = list(dict.fromkeys(picture.path for picture in pictures))
    content_digests((paths[row] for row in distributed.share(np.arange(len(paths)))), known)
    distributed.barrier()
    content = content_digests(paths, known)
    return [picture.key(content[picture.path]) for picture in pictures]


@contextmanager
def _cache_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{cache}: the feature cache cannot be used ({reason}); make room there, or name "
            "another folder with --features DIR"
        ) from error


def _first_of_each(keys: Sequence[bytes], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the keys without a row stand, each key once."""
    first: dict[bytes, int] = {}
    for index in np.flatnonzero(rows < 0).tolist():
        first.setdefault(keys[index], index)
    return np.array(list(first.values()), dtype=np.int64)


def _fill(
    store: FeatureStore,
    backbone: Backbone,
    pictures: Sequence[Picture],
    keys: Sequence[bytes],
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
            _store_batch(store, backbone, [keys[row] for row in batch], images)
            advance(len(batch))


def _store_batch(
    store: FeatureStore,
    backbone: Backbone,
    keys: Sequence[bytes],
    images: Sequence[NDArray[np.uint8] | None],
) -> None:
    readable = {key: image for key, image in zip(keys, images, strict=True) if image is not None}
    if readable:
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(list(readable.values()))).to(distributed.device())
            feature_map, pooled, _ = backbone(batch)
        store.add(list(readable), feature_map.cpu(), pooled.cpu())


def _name_broken(pictures: Sequence[Picture], broken: NDArray[np.bool_]) -> None:
    names = list(dict.fromkeys(pictures[row].path.name for row in np.flatnonzero(broken)))
    if names:
        others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        say(f"cannot be read and is left out: {', '.join(names[:_NAMED])}{others}")
