"""Training the heads on cached features: the triplet hinge of the paper (section 3.5)."""

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from completelook_build import distributed
from completelook_build.console import progress_bar
from completelook_build.features.split import Split
from completelook_build.heads.heads import CompatibilityHeads, HeadsConfig
from completelook_build.heads.scoring import pairwise_accuracy, score_split
from completelook_build.training.checkpoint import Checkpoint

_STATISTICS_REGION_ROWS = 256  # each of 196 regions
_STATISTICS_POOLED_ROWS = 4096

Mining = Literal["random", "semi-hard"]
MININGS: tuple[Mining, ...] = get_args(Mining)


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
    on equals one that never stopped. Raises TrainingError where the checkpoint cannot be used.
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
    for batch in _batches(train, config, random):
        distances = model(*(part.to(distributed.device()) for part in batch))
        loss = triplet_hinge(distances, config.margin, config.mining)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return distributed.mean(float(np.mean(losses)))


def _batches(
    train: Split, config: TrainingConfig, random: np.random.Generator
) -> Iterator[tuple[Tensor, ...]]:
    """What the heads take of each batch; one is read while the heads learn from the one before."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        reading = (reader.submit(_read, train, *rows) for rows in _rows(train, config, random))
        ahead = next(reading)
        for following in reading:
            yield ahead.result()
            ahead = following
        yield ahead.result()


def _rows(
    train: Split, config: TrainingConfig, random: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """This process's share of each batch: pairs [B] and their negatives [B, K].

    All processes draw the same batches, each then takes its part. Some pairs come twice where the
    processes could not all have the same number.
    """
    processes = distributed.world_size()
    batch_size = max(config.batch_size // processes, 1) * processes
    order = random.permutation(len(train))
    order = np.resize(order, -(-len(order) // processes) * processes)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        negatives = train.draw_negatives(batch, config.negatives, random)
        yield distributed.share(batch), distributed.share(negatives)


def _read(
    split: Split, batch: NDArray[np.int64], negatives: NDArray[np.int64]
) -> tuple[Tensor, ...]:
    """Scenes [B, 2048], regions [B, R, 1024], categories [B] and products [B, 1 + K, 2048]."""
    scenes, products = split.features.scenes, split.features.products
    product_rows = np.column_stack([split.product_rows[batch], negatives])  # [B, 1 + K]
    pooled = products.pooled(product_rows.ravel())  # [B * (1 + K), 2048]
    return (
        scenes.pooled(split.scene_rows[batch]),
        scenes.regions(split.scene_rows[batch]),
        torch.from_numpy(split.categories[batch]),
        pooled.reshape(*product_rows.shape, -1),
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
    heads.standardise_regions.fit(regions.flatten(0, 1))  # [N * R, 1024]
    pooled = torch.cat(
        [
            scenes.pooled(_sample(scene_rows, _STATISTICS_POOLED_ROWS, random)),
            products.pooled(_sample(product_rows, _STATISTICS_POOLED_ROWS, random)),
        ]
    )
    heads.standardise_pooled.fit(pooled)


def _sample(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(random.permutation(rows)[:count])
