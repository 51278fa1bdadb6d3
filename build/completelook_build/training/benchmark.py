"""How long an epoch takes and how much memory it needs, on a synthetic feature cache.

`python -m completelook_build.training.benchmark FOLDER` fills FOLDER with random features of as
many scenes as asked for, 0.4 MB each, and trains the heads on them for one epoch.
"""

import resource
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from completelook.contract import REGIONS

from completelook_build.console import progress_bar, say
from completelook_build.data import WHOLE_SCENE, Crop, Pair, PairData
from completelook_build.features import Features, FeatureStore, PairFeatures, Picture, make_split
from completelook_build.heads import HeadsConfig
from completelook_build.training.loop import train_heads
from completelook_build.training.recipe import TrainingConfig

_CATEGORIES = tuple(f"category {number}" for number in range(10))
_PRODUCTS_PER_SCENE = 0.8  # as in the public fashion set
_VALIDATION_SHARE = 0.1
_BATCH_SIZE = 64
_HEADS = HeadsConfig(categories=_CATEGORIES)  # on the paper's ResNet50


def main(
    folder: Annotated[Path, typer.Argument(help="Where the synthetic cache lies, or will.")],
    scenes: Annotated[int, typer.Option(min=100)] = 1000,
    pairs: Annotated[
        int, typer.Option(min=100, help="Training pairs, each with 8 negatives.")
    ] = 2000,
) -> None:
    """Print the seconds of one epoch and the process's largest memory."""
    features = synthetic_features(folder, scenes, pairs)
    train, validation = (make_split(features, n, _CATEGORIES) for n in ("train", "validation"))
    config = TrainingConfig(epochs=1)
    started = time.perf_counter()
    train_heads(train, validation, _HEADS, config)
    seconds = time.perf_counter() - started
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{scenes} scenes, {len(train)} training and {len(validation)} validation pairs")
    print(f"threads: {torch.get_num_threads()}")
    print(f"one epoch with validation: {seconds:.1f} s")
    print(f"largest memory of the process: {peak_bytes / 1e9:.2f} GB")


def synthetic_features(folder: Path, scenes: int, pairs: int) -> PairFeatures:
    """Random features and random pairs of them, the last scenes for validation."""
    products = round(scenes * _PRODUCTS_PER_SCENE)
    random = np.random.default_rng(0)
    data = _random_pairs(scenes, products, pairs, random)
    return PairFeatures(
        data,
        _filled(folder / "scenes", scenes, _HEADS.channels, random),
        _filled(folder / "products", products, None, random),
        {Picture(data.pictures[f"s{row}"]): row for row in range(scenes)},
        {f"p{row}": row for row in range(products)},
    )


def _random_pairs(scenes: int, products: int, pairs: int, random: np.random.Generator) -> PairData:
    validation = max(1, round(scenes * _VALIDATION_SHARE))
    count = pairs + round(pairs * _VALIDATION_SHARE)
    scene_rows = np.concatenate(
        [
            random.integers(scenes - validation, size=pairs),
            random.integers(scenes - validation, scenes, size=count - pairs),
        ]
    )
    crop = Crop(WHOLE_SCENE, "whole")
    drawn = zip(scene_rows.tolist(), random.integers(products, size=count).tolist(), strict=True)
    chosen = tuple(
        Pair(f"s{s}", f"p{p}", _CATEGORIES[p % len(_CATEGORIES)], crop) for s, p in drawn
    )
    splits = {
        "train": frozenset(f"s{row}" for row in range(scenes - validation)),
        "validation": frozenset(f"s{row}" for row in range(scenes - validation, scenes)),
    }
    pictures = {f"s{row}": Path(f"s{row}") for row in range(scenes)}
    return PairData(chosen, pictures, splits)


def _filled(
    folder: Path, count: int, channels: int | None, random: np.random.Generator
) -> Features:
    """Fill what is still missing, the same random block again and again."""
    store = FeatureStore(folder, pooled_size=_HEADS.pooled_size, channels=channels)
    keys = [b"%d" % number for number in range(count)]
    missing = np.flatnonzero(store.rows(keys) < 0)
    if len(missing):
        say(f"{len(missing)} synthetic rows to be written")
    grid = round(REGIONS**0.5)
    maps = torch.from_numpy(
        random.random((_BATCH_SIZE, _HEADS.channels, grid, grid), dtype=np.float32)
    )
    pooled = torch.from_numpy(random.random((_BATCH_SIZE, _HEADS.pooled_size), dtype=np.float32))
    with progress_bar("writing", total=len(missing), unit="rows") as advance:
        for start in range(0, len(missing), _BATCH_SIZE):
            some = [keys[row] for row in missing[start : start + _BATCH_SIZE]]
            store.add(some, maps[: len(some)], pooled[: len(some)])
            advance(len(some))
    return Features(store, store.rows(keys))


if __name__ == "__main__":
    typer.run(main)
