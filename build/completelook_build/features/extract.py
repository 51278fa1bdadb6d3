"""Features of pictures, each computed once: whoever asks next finds it in the store.

CACHE/pictures.sqlite          digests of picture files
CACHE/BACKBONE-D[-C]/          the stores of a backbone: products without regions, scenes with
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from completelook_build import distributed
from completelook_build.backbones import Backbone
from completelook_build.console import progress_bar, say
from completelook_build.errors import DataError
from completelook_build.features.picture import Picture, content_digests
from completelook_build.features.store import Features, FeatureStore
from completelook_build.features.views import load_views, view_key

BATCH_SIZE = 16
_NAMED = 5  # pictures that cannot be read


def extract(
    backbone: Backbone,
    pictures: Sequence[Picture],
    cache: Path,
    *,
    with_regions: bool,
    label: str,
    views: int = 1,
) -> Features:
    """The features of pictures in so many views, from the store where it has them.

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
        missing = _first_of_each(keys, _rows(store, keys, views))
        distributed.barrier()  # before any process adds: all have to see the same rows missing
        missing = distributed.share(missing)
        if len(missing):
            with progress_bar(label, total=len(missing), unit="images") as advance:
                _fill(store, backbone, pictures, keys, views, missing, advance)
        distributed.barrier()
        features = Features(store, _rows(store, keys, views))
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


def _rows(store: FeatureStore, keys: Sequence[bytes], views: int) -> NDArray[np.int64]:
    """The row of each view of each key, -1 where there is none, [N, views]."""
    rows = store.rows([view_key(key, view) for key in keys for view in range(views)])
    return rows.reshape(len(keys), views)


def _first_of_each(keys: Sequence[bytes], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the keys that lack a row stand, each key once."""
    first: dict[bytes, int] = {}
    for index in np.flatnonzero((rows < 0).any(axis=1)).tolist():
        first.setdefault(keys[index], index)
    return np.array(list(first.values()), dtype=np.int64)


def _fill(
    store: FeatureStore,
    backbone: Backbone,
    pictures: Sequence[Picture],
    keys: Sequence[bytes],
    views: int,
    missing: NDArray[np.int64],
    advance: Callable[[int], None],
) -> None:
    """Add the views that pictures lack; each picture is decoded once for all of them."""
    rows = _rows(store, [keys[index] for index in missing], views)
    lacking = {
        index: np.flatnonzero(own < 0).tolist()
        for index, own in zip(missing.tolist(), rows, strict=True)
    }
    at_once = max(1, BATCH_SIZE // views)
    batches = [missing[start : start + at_once] for start in range(0, len(missing), at_once)]
    with ThreadPoolExecutor(max_workers=2) as decoders:

        def submit(batch: NDArray[np.int64]) -> list[Future[list[NDArray[np.uint8]] | None]]:
            return [
                decoders.submit(load_views, pictures[index], keys[index], lacking[index])
                for index in batch.tolist()
            ]

        # The next batch is decoded while this one goes through the backbone.
        ahead = submit(batches[0])
        for batch, following in zip(batches, [*batches[1:], batches[0][:0]], strict=True):
            loaded = [future.result() for future in ahead]
            ahead = submit(following)
            images = {
                view_key(keys[index], view): image
                for index, own in zip(batch.tolist(), loaded, strict=True)
                for view, image in zip(lacking[index], own or [], strict=False)
            }
            _store_batch(store, backbone, images)
            advance(len(batch))


def _store_batch(
    store: FeatureStore, backbone: Backbone, images: Mapping[bytes, NDArray[np.uint8]]
) -> None:
    if images:
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(list(images.values()))).to(distributed.device())
            feature_map, pooled, _ = backbone(batch)
        store.add(list(images), feature_map.cpu(), pooled.cpu())


def _name_broken(pictures: Sequence[Picture], broken: NDArray[np.bool_]) -> None:
    names = list(dict.fromkeys(pictures[row].path.name for row in np.flatnonzero(broken)))
    if names:
        others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        say(f"cannot be read and is left out: {', '.join(names[:_NAMED])}{others}")
