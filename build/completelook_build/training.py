"""Training the heads on cached features: the triplet hinge of the paper (section 3.5)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from completelook_build.console import progress_bar
from completelook_build.model import CompatibilityHeads, HeadsConfig
from completelook_build.scoring import pairwise_accuracy, score_split
from completelook_build.split import Split

_STATISTICS_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the heads are trained; the defaults are what was found to work (docs/model.md)."""

    epochs: int = 30
    batch_size: int = 64
    negatives: int = 8
    margin: float = 0.2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training pairs gave."""

    epoch: int
    loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Trained:
    """The heads of the best epoch on held-out scenes, and how training went."""

    heads: CompatibilityHeads
    best: Epoch
    history: tuple[Epoch, ...]


def triplet_hinge(distances: Tensor, margin: float) -> Tensor:
    """max(0, d+ - d- + margin), averaged; distances [B, 1 + K], the positive first."""
    return torch.relu(distances[:, :1] - distances[:, 1:] + margin).mean()


def train_heads(
    train: Split, validation: Split, heads_config: HeadsConfig, config: TrainingConfig
) -> Trained:
    """Train on one split and keep the epoch that does best on the other."""
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    heads = CompatibilityHeads(heads_config)
    standardise_inputs(heads, train, random)
    optimizer = torch.optim.Adam(
        [weight for weight in heads.parameters() if weight.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    history: list[Epoch] = []
    best_weights = heads.state_dict()
    with progress_bar("training", total=config.epochs, unit="epochs") as advance:
        for number in range(1, config.epochs + 1):
            loss = _train_epoch(heads, optimizer, train, config, random)
            accuracy = pairwise_accuracy(score_split(heads, validation))
            if accuracy > max((past.validation_accuracy for past in history), default=-1.0):
                best_weights = {name: value.clone() for name, value in heads.state_dict().items()}
            history.append(Epoch(number, loss, accuracy))
            advance(1)
    heads.load_state_dict(best_weights)
    best = max(history, key=lambda epoch: epoch.validation_accuracy)
    return Trained(heads.eval(), best, tuple(history))


def _train_epoch(
    heads: CompatibilityHeads,
    optimizer: torch.optim.Optimizer,
    train: Split,
    config: TrainingConfig,
    random: np.random.Generator,
) -> float:
    """One pass over the pairs in random order; the mean loss."""
    heads.train()
    order = random.permutation(len(train))
    losses = []
    for start in range(0, len(order), config.batch_size):
        batch = order[start : start + config.batch_size]
        negatives = train.draw_negatives(batch, config.negatives, random)  # [B, K]
        loss = triplet_hinge(_distances(heads, train, batch, negatives), config.margin)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _distances(
    heads: CompatibilityHeads,
    split: Split,
    batch: NDArray[np.int64],
    negatives: NDArray[np.int64],
) -> Tensor:
    """Distances of some pairs' scenes to their positive and negatives, [B, 1 + K]."""
    scenes, products = split.features.scenes, split.features.products
    product_rows = np.column_stack([split.product_rows[batch], negatives])  # [B, 1 + K]
    pooled = products.pooled(product_rows.ravel())  # [B * (1 + K), 2048]
    distances: Tensor = heads(
        scenes.pooled(split.scene_rows[batch]),
        scenes.regions(split.scene_rows[batch]),
        torch.from_numpy(split.categories[batch]),
        pooled.reshape(*product_rows.shape, -1),
    )
    return distances


def standardise_inputs(
    heads: CompatibilityHeads, train: Split, random: np.random.Generator
) -> None:
    """Set the input statistics: one for pooled vectors of scenes and products, one for regions."""
    scene_rows = np.unique(train.scene_rows)
    scenes = np.sort(random.permutation(scene_rows)[:_STATISTICS_ROWS])
    regions = train.features.scenes.regions(scenes).flatten(0, 1)  # [N * R, 1024]
    product_rows = np.unique(train.product_rows)
    pooled = torch.cat(
        [train.features.scenes.pooled(scene_rows), train.features.products.pooled(product_rows)]
    )
    for standardise, inputs in (
        (heads.standardise_pooled, pooled),
        (heads.standardise_regions, regions),
    ):
        deviation, mean = torch.std_mean(inputs, dim=0)
        standardise.mean.copy_(mean)
        # A dimension that never moves would otherwise be blown up beyond bounds.
        standardise.deviation.copy_(deviation.clamp_min(1e-4 * deviation.max()))
