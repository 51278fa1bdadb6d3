"""What Complete the Look is compared with: rankers that see pooled features alone.

Those that learn share one loop, with the batches, negatives and epochs of `training`. The
literature publishes them for product against product; here one side is the scene.

Shapes: B scenes, P products each, the positive first, F pooled features, D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from completelook_build.features import Split
from completelook_build.heads import (
    Distances,
    Standardise,
    StyleEmbedding,
    candidate_rows,
    pairwise_accuracy,
    score_pairs,
)
from completelook_build.training import TrainingConfig


class Baseline(nn.Module):
    """Encodes standardised features of both sides and measures a distance between the codes."""

    def __init__(
        self, pooled_size: int, scene_encoder: nn.Module, product_encoder: nn.Module
    ) -> None:
        super().__init__()
        self.standardise = Standardise(pooled_size)
        self.scene_encoder = scene_encoder
        self.product_encoder = product_encoder

    def encode(self, scenes: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised scenes [B, F] and products [B, P, F] -> codes [B, D] and [B, P, D]."""
        return self.scene_encoder(scenes), self.product_encoder(products)

    def distances(self, scenes: Tensor, products: Tensor) -> Tensor:
        """Codes [B, D] and [B, P, D] -> [B, P]: squared Euclidean distances."""
        return (scenes.unsqueeze(1) - products).square().sum(dim=2)

    def loss(self, scenes: Tensor, products: Tensor) -> Tensor:
        """Standardised scenes [B, F], their positive and negatives [B, 1 + K, F] -> scalar."""
        raise NotImplementedError


class ImageBasedRecommendation(Baseline):
    """IBR: a Mahalanobis distance of low rank (McAuley et al., SIGIR 2015, section 3).

    d = ||(x_s - x_p) Y||^2 and P(fits) = sigmoid(c - d), maximum likelihood over positives and
    negatives, which weigh the same. Y and c are learned, one Y for all categories.
    """

    def __init__(self, pooled_size: int, *, rank: int) -> None:
        projection = nn.Linear(pooled_size, rank, bias=False)
        # Standardised features then start at distances around 2, where the sigmoid has a slope.
        nn.init.normal_(projection.weight, std=(pooled_size * rank) ** -0.5)
        super().__init__(pooled_size, projection, projection)
        self.shift = nn.Parameter(torch.tensor(2.0))

    def loss(self, scenes: Tensor, products: Tensor) -> Tensor:
        """The negative log-likelihood."""
        logits = self.shift - self.distances(*self.encode(scenes, products))  # [B, 1 + K]
        positive = functional.logsigmoid(logits[:, 0]).mean()
        negative = functional.logsigmoid(-logits[:, 1:]).mean()
        return -(positive + negative) / 2


class SiameseNets(Baseline):
    """One embedding of both sides under the contrastive loss (Veit et al., ICCV 2015, section 3).

    d^2 for positives and max(0, margin - d)^2 for negatives. The embedding is CTL's global one on
    frozen features, so that what differs is the loss and the attention, not the size.
    """

    def __init__(self, pooled_size: int, *, margin: float) -> None:
        embedding = StyleEmbedding(pooled_size, 256, 0.5)
        super().__init__(pooled_size, embedding, embedding)
        self.margin = margin

    def encode(self, scenes: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
        """In one pass: the batch norm's statistics must fit scenes and products."""
        codes = self.scene_encoder(torch.cat([scenes, products.flatten(0, 1)]))  # [B + B * P, D]
        return codes[: len(scenes)], codes[len(scenes) :].unflatten(0, products.shape[:2])

    def loss(self, scenes: Tensor, products: Tensor) -> Tensor:
        """The contrastive loss, positives and negatives weighing the same."""
        squared = self.distances(*self.encode(scenes, products))  # [B, 1 + K]
        # The root has no slope at zero.
        distance = squared[:, 1:].clamp_min(1e-12).sqrt()
        positive = squared[:, 0].mean()
        return (positive + torch.relu(self.margin - distance).square().mean()) / 2


class DualAutoencoder(Baseline):
    """BPR-DAE on visual features alone (Song et al., NeuroStylist, ACM Multimedia 2017).

    An autoencoder for each side; what fits has a large inner product of the codes. The loss is
    Bayesian personalised ranking plus the weighted error of reconstruction. Song et al. also read
    titles and categories, which scenes do not have.
    """

    def __init__(self, pooled_size: int, *, reconstruction_weight: float, size: int = 512) -> None:
        encoders = (nn.Sequential(nn.Linear(pooled_size, size), nn.Sigmoid()) for _ in "sp")
        super().__init__(pooled_size, *encoders)
        self.scene_decoder = nn.Linear(size, pooled_size)
        self.product_decoder = nn.Linear(size, pooled_size)
        self.reconstruction_weight = reconstruction_weight

    def distances(self, scenes: Tensor, products: Tensor) -> Tensor:
        """Codes [B, D] and [B, P, D] -> [B, P]: the inner product with its sign turned."""
        return -torch.matmul(products, scenes.unsqueeze(2)).squeeze(2)

    def loss(self, scenes: Tensor, products: Tensor) -> Tensor:
        """Bayesian personalised ranking and reconstruction."""
        scene_codes, product_codes = self.encode(scenes, products)
        distances = self.distances(scene_codes, product_codes)  # [B, 1 + K]
        ranking = -functional.logsigmoid(distances[:, 1:] - distances[:, :1]).mean()
        reconstruction = functional.mse_loss(self.scene_decoder(scene_codes), scenes)
        reconstruction += functional.mse_loss(self.product_decoder(product_codes), products)
        return ranking + self.reconstruction_weight * reconstruction


@dataclass(frozen=True)
class FittedBaseline:
    """The baseline of the best choice and epoch on the validation scenes."""

    model: Baseline
    validation_accuracy: float
    choice: str


# What is tried for each, beside two learning rates.
CHOICES: dict[str, Sequence[tuple[str, Callable[[int], Baseline]]]] = {
    "ibr": [(f"rank {rank}", partial(ImageBasedRecommendation, rank=rank)) for rank in (10, 100)],
    "siamese": [(f"margin {margin}", partial(SiameseNets, margin=margin)) for margin in (0.5, 1.0)],
    "bpr_dae": [
        (f"reconstruction weight {weight}", partial(DualAutoencoder, reconstruction_weight=weight))
        for weight in (0.01, 0.1)
    ],
}
LEARNING_RATES = (1e-3, 1e-4)


def fit_baseline(
    name: str, train: Split, validation: Split, config: TrainingConfig
) -> FittedBaseline:
    """Train every choice of a baseline in `CHOICES`; the best on validation scenes is kept."""
    fitted = []
    for (choice, make), learning_rate in product(CHOICES[name], LEARNING_RATES):
        own = replace(config, learning_rate=learning_rate)
        model, accuracy = train_baseline(make, train, validation, own)
        fitted.append(FittedBaseline(model, accuracy, f"{choice}, learning rate {learning_rate:g}"))
    return max(fitted, key=lambda one: one.validation_accuracy)


def train_baseline(
    make: Callable[[int], Baseline], train: Split, validation: Split, config: TrainingConfig
) -> tuple[Baseline, float]:
    """Train one baseline with `config`'s budget; the best epoch and its validation accuracy."""
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    pooled = _pooled_of_both_sides(train)
    model = make(pooled.shape[1])
    model.standardise.fit(pooled)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    best_accuracy, best_weights = -1.0, model.state_dict()
    for _ in range(config.epochs):
        _train_epoch(model, optimizer, train, config, random)
        accuracy = pairwise_accuracy(score_pairs(validation, baseline_distances(model, validation)))
        if accuracy > best_accuracy:
            best_accuracy = accuracy
            best_weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best_weights)
    return model.eval(), best_accuracy


def _train_epoch(
    model: Baseline,
    optimizer: torch.optim.Optimizer,
    train: Split,
    config: TrainingConfig,
    random: np.random.Generator,
) -> None:
    model.train()
    order = random.permutation(len(train))
    for start in range(0, len(order), config.batch_size):
        batch = order[start : start + config.batch_size]
        negatives = train.draw_negatives(batch, config.negatives, random)  # [B, K]
        rows = np.column_stack([train.product_rows[batch], negatives])  # [B, 1 + K]
        scenes = train.features.scenes.pooled(train.scene_rows[batch])  # [B, F]
        products = train.features.products.pooled(rows.ravel()).unflatten(0, rows.shape)
        loss = model.loss(model.standardise(scenes), model.standardise(products))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _pooled_of_both_sides(split: Split) -> Tensor:
    """Every scene and product of a split once, [N, F]."""
    scenes, products = np.unique(split.scene_rows), np.unique(split.product_rows)
    return torch.cat(
        [split.features.scenes.pooled(scenes), split.features.products.pooled(products)]
    )


@torch.inference_mode()
def baseline_distances(model: Baseline, split: Split) -> Distances:
    """A learned baseline's distances; every scene and product is encoded once."""
    model.eval()
    features = split.features
    rows = candidate_rows(split)
    pooled_scenes = model.standardise(features.scenes.pooled(split.scene_rows))  # [N, F]
    pooled_products = model.standardise(features.products.pooled(rows))  # [M, F]
    scenes, products = model.scene_encoder(pooled_scenes), model.product_encoder(pooled_products)

    @torch.inference_mode()
    def distances(index: int, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        codes = products[torch.from_numpy(np.searchsorted(rows, wanted))]
        measured: NDArray[np.float32] = model.distances(scenes[[index]], codes[None])[0].numpy()
        return measured

    return distances


def raw_distances(split: Split) -> Distances:
    """1 - cosine of the backbone's pooled features: similarity, nothing learned."""
    rows = candidate_rows(split)
    scenes = functional.normalize(split.features.scenes.pooled(split.scene_rows)).numpy()
    products = functional.normalize(split.features.products.pooled(rows)).numpy()
    return lambda index, wanted: 1.0 - products[np.searchsorted(rows, wanted)] @ scenes[index]


def popularity_distances(train: Split) -> Distances:
    """Minus the number of a product's training pairs; products never trained on tie at 0."""
    rows, counts = np.unique(train.product_rows, return_counts=True)
    pairs_of = dict(zip(rows.tolist(), counts.tolist(), strict=True))
    return lambda _, wanted: np.array([-pairs_of.get(row, 0) for row in wanted], dtype=np.float32)


def chance_distances(split: Split, seed: int) -> Distances:
    """Random numbers, drawn once for each pair and product."""
    rows = candidate_rows(split)

    def distances(index: int, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        drawn = np.random.default_rng((seed, index)).random(len(rows), dtype=np.float32)
        return drawn[np.searchsorted(rows, wanted)]

    return distances
