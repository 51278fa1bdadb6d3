"""Triplets of a scene, its product and negatives: read in batches, mined, and their hinge.

Paper section 3.5. Shapes: B pairs, K negatives of each.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from completelook_build import distributed
from completelook_build.features import Split
from completelook_build.training.recipe import Mining, TrainingConfig


def triplet_hinge(distances: Tensor, margin: float, mining: Mining = "random") -> Tensor:
    """max(0, d+ - d- + margin), averaged over each pair's negatives that count, then over pairs.

    Distances [B, 1 + K], the positive first.
    """
    hinge = torch.relu(distances[:, :1] - distances[:, 1:] + margin)  # [B, K]
    if mining == "random":
        return hinge.mean()
    counts = semi_hard(distances, margin)  # [B, K]
    return ((hinge * counts).sum(dim=1) / counts.sum(dim=1)).mean()


def semi_hard(distances: Tensor, margin: float) -> Tensor:
    """FaceNet's choice of negatives (Schroff et al. 2015, section 3.2): d+ < d- < d+ + margin.

    Chosen among the pair's own random negatives, all of them where none is semi-hard. Distances
    [B, 1 + K], the positive first -> bool [B, K].
    """
    farther = distances[:, 1:] - distances[:, :1]  # [B, K]
    inside = (farther > 0) & (farther < margin)
    return inside | ~inside.any(dim=1, keepdim=True)


def triplet_losses(
    model: nn.Module, train: Split, config: TrainingConfig, random: np.random.Generator
) -> Iterator[Tensor]:
    """The hinge of each batch of an epoch, over the pairs in random order."""
    for batch in read_triplets(train, config.batch_size, config.negatives, random):
        distances = model(*(part.to(distributed.device()) for part in batch))
        yield triplet_hinge(distances, config.margin, config.mining)


def read_triplets(
    train: Split, batch_size: int, negatives: int, random: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """What the heads take of each batch; one is read while the heads learn from the one before.

    Scenes [B, F], regions [B, R, C], categories [B] and products [B, 1 + K, F], the true
    one first.
    """
    with ThreadPoolExecutor(max_workers=1) as reader:
        drawn = _draw(train, batch_size, negatives, random)
        reading = (reader.submit(_read, train, *rows) for rows in drawn)
        ahead = next(reading)
        for following in reading:
            yield ahead.result()
            ahead = following
        yield ahead.result()


def _draw(
    train: Split, batch_size: int, negatives: int, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """This process's share of each batch: pairs [B] and their negatives [B, K].

    All processes draw the same batches, each then takes its part. Some pairs come twice where the
    processes could not all have the same number.
    """
    processes = distributed.world_size()
    batch_size = max(batch_size // processes, 1) * processes
    order = random.permutation(len(train))
    order = np.resize(order, -(-len(order) // processes) * processes)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        drawn = train.draw_negatives(batch, negatives, random)
        yield distributed.share(batch), distributed.share(drawn)


def _read(
    split: Split, batch: NDArray[np.int64], negatives: NDArray[np.int64]
) -> tuple[Tensor, ...]:
    scenes, products = split.features.scenes, split.features.products
    product_rows = np.column_stack([split.product_rows[batch], negatives])  # [B, 1 + K]
    pooled = products.pooled(product_rows.ravel())  # [B * (1 + K), F]
    return (
        scenes.pooled(split.scene_rows[batch]),
        scenes.regions(split.scene_rows[batch]),
        torch.from_numpy(split.categories[batch]),
        pooled.reshape(*product_rows.shape, -1),
    )
