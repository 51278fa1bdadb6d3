"""Training the heads on cached features: the triplet hinge of the paper (section 3.5)."""

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from completelook_build import distributed
from completelook_build.console import progress_bar
from completelook_build.errors import TrainingError
from completelook_build.features import Split
from completelook_build.heads import (
    CompatibilityHeads,
    HeadsConfig,
    name_of_not_finite,
    pairwise_accuracy,
    score_split,
)
from completelook_build.training.checkpoint import Checkpoint
from completelook_build.training.triplets import Mining, read_triplets, triplet_hinge

_STATISTICS_REGION_ROWS = 256  # each of 196 regions
_STATISTICS_POOLED_ROWS = 4096

_WAYS_ON = (
    "a lower --attention-scale, or features computed anew (remove their folder) in case that the "
    "cache is damaged; the checkpoint, if there is one, is of the last epoch that was sound"
)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the heads are trained; the defaults are what was found to work (docs/model.md).

    `batch_size` is that of all processes together. `mining` says which of a pair's `negatives`
    count: all of them ("random", the paper's), or those that `semi_hard` picks.
    """

    epochs: int = 30
    batch_size: int = 64
    negatives: int = 8
    margin: float = 0.2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    mining: Mining = "random"
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


def train_heads(
    train: Split,
    validation: Split,
    heads_config: HeadsConfig,
    config: TrainingConfig,
    *,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train on one split and keep the epoch that does best on the other.

    With a checkpoint the state is kept after every epoch, and training goes on from the one that it
    holds. An epoch's randomness follows from the seed and its number, so that a training that went
    on equals one that never stopped. Raises TrainingError where the checkpoint cannot be used, and
    as soon as a loss or a weight is not finite.
    """
    state = None if checkpoint is None else checkpoint.load()
    torch.manual_seed(config.seed)
    training = _Training(heads_config, config)
    if state is None:
        standardise_inputs(training.heads, train, np.random.default_rng(config.seed))
    else:
        training.restore(state)
    with progress_bar("training", total=config.epochs, unit="epochs") as advance:
        advance(len(training.history))
        while len(training.history) < config.epochs:
            training.run_epoch(train, validation)
            if checkpoint is not None and distributed.is_first():
                checkpoint.save(training.state())
            advance(1)
    return training.result()


class _Training:
    """What changes from epoch to epoch."""

    def __init__(self, heads_config: HeadsConfig, config: TrainingConfig) -> None:
        self.heads_config = heads_config
        self.config = config
        self.heads = CompatibilityHeads(heads_config).to(distributed.device())
        self.model = distributed.averaging_gradients(
            self.heads, every_weight_used=heads_config.form == "full"
        )
        self.optimizer = torch.optim.Adam(
            [weight for weight in self.heads.parameters() if weight.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.history: list[Epoch] = []
        self.best_weights: dict[str, Tensor] = {}

    @property
    def best(self) -> Epoch:
        """The first of the epochs with the highest accuracy."""
        return max(self.history, key=lambda epoch: epoch.validation_accuracy)

    def run_epoch(self, train: Split, validation: Split) -> None:
        """One pass over the training pairs, and how well the heads do on the others."""
        number = len(self.history) + 1
        random = np.random.default_rng([self.config.seed, number])
        # Every process drops out other values.
        torch.manual_seed(int(random.integers(2**32)) + distributed.rank())
        loss = _train_epoch(self.model, self.optimizer, train, self.config, random)
        _require_finite(self.heads, number)
        distributed.copy_from_first(self.heads)
        heads = copy.deepcopy(self.heads).cpu()
        accuracy = distributed.from_first(lambda: pairwise_accuracy(score_split(heads, validation)))
        self.history.append(Epoch(number, loss, accuracy))
        if self.best.epoch == number:
            self.best_weights = heads.state_dict()

    def state(self) -> dict[str, Any]:
        """All of it, as `torch.save` takes it."""
        return {
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(epoch) for epoch in self.history],
            "best_weights": self.best_weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.best_weights = state["best_weights"]

    def result(self) -> Trained:
        """The heads of the best epoch, on the CPU."""
        heads = CompatibilityHeads(self.heads_config)
        heads.load_state_dict(self.best_weights)
        return Trained(heads.eval(), self.best, tuple(self.history))


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Split,
    config: TrainingConfig,
    random: np.random.Generator,
) -> float:
    """One pass over the pairs in random order; the mean loss."""
    model.train()
    losses = []
    for batch in read_triplets(train, config.batch_size, config.negatives, random):
        distances = model(*(part.to(distributed.device()) for part in batch))
        loss = triplet_hinge(distances, config.margin, config.mining)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingError(f"the loss of batch {len(losses)} is {losses[-1]}: {_WAYS_ON}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return distributed.mean(float(np.mean(losses)))


def _require_finite(heads: CompatibilityHeads, epoch: int) -> None:
    name = name_of_not_finite(heads)
    if name is not None:
        raise TrainingError(
            f"epoch {epoch} left {name} with a value that is not finite: {_WAYS_ON}"
        )


def standardise_inputs(
    heads: CompatibilityHeads, train: Split, random: np.random.Generator
) -> None:
    """Set the input statistics: one for pooled vectors of scenes and products, one for regions.

    They come from a sample that fits into memory, however many pictures there are.
    """
    scenes, products = train.features.scenes, train.features.products
    scene_rows, product_rows = np.unique(train.scene_rows), np.unique(train.product_rows)
    regions = scenes.regions(_sample(scene_rows, _STATISTICS_REGION_ROWS, random))
    heads.standardise_regions.fit(regions.flatten(0, 1))  # [N * R, C]
    pooled = torch.cat(
        [
            scenes.pooled(_sample(scene_rows, _STATISTICS_POOLED_ROWS, random)),
            products.pooled(_sample(product_rows, _STATISTICS_POOLED_ROWS, random)),
        ]
    )
    heads.standardise_pooled.fit(pooled)


def _sample(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(random.permutation(rows)[:count])
