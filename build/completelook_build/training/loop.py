"""Training the heads on cached features: epochs, their checkpoint, and which of them is kept."""

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from completelook_build import distributed
from completelook_build.console import progress_bar
from completelook_build.errors import TrainingError
from completelook_build.features import Features, Split
from completelook_build.heads import (
    CompatibilityHeads,
    HeadsConfig,
    name_of_not_finite,
    pairwise_accuracy,
    score_split,
)
from completelook_build.training.checkpoint import Checkpoint
from completelook_build.training.recipe import Recipe, SmallDataConfig, TrainingConfig
from completelook_build.training.softmax import learning_rate, scene_losses, step_count
from completelook_build.training.triplets import triplet_losses

_STATISTICS_REGION_ROWS = 256  # each of 196 regions
_STATISTICS_POOLED_ROWS = 4096

_WAYS_ON = (
    "a lower --attention-scale, or features computed anew (remove their folder) in case that the "
    "cache is damaged; the checkpoint, if there is one, is of the last epoch that was sound"
)


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training pairs gave."""

    epoch: int
    loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Trained:
    """The heads of the epoch that is kept, and how training went."""

    heads: CompatibilityHeads
    kept: Epoch
    history: tuple[Epoch, ...]


def train_heads(
    train: Split,
    validation: Split,
    heads_config: HeadsConfig,
    config: Recipe,
    *,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train on one split and measure every epoch on the other; the paper's recipe keeps the best.

    With a checkpoint the state is kept after every epoch, and training goes on from the one that it
    holds. An epoch's randomness follows from the seed and its number, so that a training that went
    on equals one that never stopped. Raises TrainingError where the checkpoint cannot be used, and
    as soon as a loss or a weight is not finite, or several processes are to share the recipe for
    few scenes.
    """
    if isinstance(config, SmallDataConfig) and distributed.world_size() > 1:
        raise TrainingError(
            "the recipe for small data trains in one process: start it without torchrun"
        )
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

    def __init__(self, heads_config: HeadsConfig, config: Recipe) -> None:
        self.heads_config = heads_config
        self.config = config
        self.heads = CompatibilityHeads(heads_config).to(distributed.device())
        self.model = distributed.averaging_gradients(
            self.heads, every_weight_used=heads_config.form == "full"
        )
        adam = torch.optim.AdamW if isinstance(config, SmallDataConfig) else torch.optim.Adam
        self.optimizer = adam(
            [weight for weight in self.heads.parameters() if weight.requires_grad],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.history: list[Epoch] = []
        self.kept_weights: dict[str, Tensor] = {}

    @property
    def kept(self) -> Epoch:
        """The first of the epochs with the highest accuracy; of the recipe for few scenes the last.

        A tenth of few scenes is too few to choose by.
        """
        if isinstance(self.config, SmallDataConfig):
            return self.history[-1]
        return max(self.history, key=lambda epoch: epoch.validation_accuracy)

    def run_epoch(self, train: Split, validation: Split) -> None:
        """One pass over the training pairs, and how well the heads do on the others."""
        number = len(self.history) + 1
        random = np.random.default_rng([self.config.seed, number])
        # Every process drops out other values.
        torch.manual_seed(int(random.integers(2**32)) + distributed.rank())
        losses = self._losses(train, random)
        loss = _descend(self.model, self.optimizer, losses)
        _require_finite(self.heads, number)
        distributed.copy_from_first(self.heads)
        heads = copy.deepcopy(self.heads).cpu()
        accuracy = distributed.from_first(lambda: pairwise_accuracy(score_split(heads, validation)))
        self.history.append(Epoch(number, loss, accuracy))
        if self.kept.epoch == number:
            self.kept_weights = heads.state_dict()

    def _losses(self, train: Split, random: np.random.Generator) -> Iterator[Tensor]:
        """The loss of each batch of the epoch that follows; of few scenes it sets the rate, too."""
        config = self.config
        if isinstance(config, TrainingConfig):
            yield from triplet_losses(self.model, train, config, random)
            return
        steps = step_count(train, config)
        done = len(self.history) * steps
        for number, loss in enumerate(scene_losses(self.heads, train, config, random), done):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(config, number / (steps * config.epochs))
            yield loss

    def state(self) -> dict[str, Any]:
        """All of it, as `torch.save` takes it."""
        return {
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [asdict(epoch) for epoch in self.history],
            "kept_weights": self.kept_weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.kept_weights = state["kept_weights"]

    def result(self) -> Trained:
        """The heads of the epoch that is kept, on the CPU."""
        heads = CompatibilityHeads(self.heads_config)
        heads.load_state_dict(self.kept_weights)
        return Trained(heads.eval(), self.kept, tuple(self.history))


def _descend(model: nn.Module, optimizer: torch.optim.Optimizer, losses: Iterator[Tensor]) -> float:
    """A step for each batch's loss; their mean."""
    model.train()
    values = []
    for loss in losses:
        values.append(loss.item())
        if not math.isfinite(values[-1]):
            raise TrainingError(f"the loss of batch {len(values)} is {values[-1]}: {_WAYS_ON}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return distributed.mean(float(np.mean(values)))


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
        [_pooled_sample(scenes, scene_rows, random), _pooled_sample(products, product_rows, random)]
    )
    heads.standardise_pooled.fit(pooled)
    if heads.project_pooled is not None:
        heads.project_pooled.fit(heads.standardise_pooled(pooled))


def _pooled_sample(
    features: Features, rows: NDArray[np.int64], random: np.random.Generator
) -> Tensor:
    """Pooled vectors of some of all the pictures' views."""
    places = _sample(np.arange(len(rows) * features.views), _STATISTICS_POOLED_ROWS, random)
    return features.pooled(rows[places // features.views], places % features.views)


def _sample(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(random.permutation(rows)[:count])
