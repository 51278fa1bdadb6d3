"""A backbone made ready for a data set: training pictures set the batch norms of a random one."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from completelook_build import distributed
from completelook_build.backbones import Network, Pooling, load_network, settle_batch_norms
from completelook_build.console import progress_bar, say
from completelook_build.data import PairData
from completelook_build.features.extract import BATCH_SIZE
from completelook_build.features.picture import Picture, load_readable
from completelook_build.features.split import scene_picture

_BATCH_NORM_IMAGES = 128


def prepare_backbone(source: str, data: PairData, seed: int, pooling: Pooling = "head") -> Network:
    """The network that `--backbone` names; training pictures set a random one's batch norms.

    Raises WeightsError.
    """
    network = load_network(source, pooling)
    say(network.card.as_text())
    if not network.card.is_random:
        return network
    pairs = data.split("train")
    pictures = list(
        dict.fromkeys(
            [scene_picture(data, pair) for pair in pairs]
            + [Picture(data.pictures[pair.product]) for pair in pairs]
        )
    )
    chosen = np.random.default_rng(seed).permutation(len(pictures))[:_BATCH_NORM_IMAGES]
    if distributed.is_first():
        with progress_bar("batch norms", total=len(chosen), unit="images") as advance:
            settle_batch_norms(network, _batches([pictures[row] for row in chosen], advance))
    distributed.copy_from_first(network.module)
    return network


def _batches(pictures: Sequence[Picture], advance: Callable[[int], None]) -> Iterator[torch.Tensor]:
    """UINT8 [B, 224, 224, 3] each; pictures that cannot be read are left out."""
    for start in range(0, len(pictures), BATCH_SIZE):
        images = [load_readable(picture) for picture in pictures[start : start + BATCH_SIZE]]
        readable = [image for image in images if image is not None]
        if readable:
            yield torch.from_numpy(np.stack(readable))
        advance(len(images))
