"""Batches of whole scenes against all training products, and their softmax in both directions.

Shapes: B pictures of the batch's scenes (a scene is another picture with every product cropped out
of it), N pairs, P products, C categories, D = 128.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from completelook_build.features import Split
from completelook_build.heads import CompatibilityHeads
from completelook_build.training.recipe import SmallDataConfig


@dataclass(frozen=True)
class SceneBatch:
    """What one step learns from.

    `competes` [N, P] is where a product is the pair's own, or of its category and not known to fit
    its scene; `rivals` [N, B] where a picture is the pair's own, or of a scene that is not known to
    go with its product.
    """

    pictures: NDArray[np.int64]  # [B], rows of the scene features
    products: NDArray[np.int64]  # [P], rows of the product features
    picture_of: Tensor  # [N], places among the pictures
    product_of: Tensor  # [N], places among the products
    categories: Tensor  # [N], rows of the category table
    competes: Tensor  # bool [N, P]
    rivals: Tensor  # bool [N, B]

    def to(self, device: torch.device) -> "SceneBatch":
        """The same with its tensors on a device."""
        return replace(
            self,
            picture_of=self.picture_of.to(device),
            product_of=self.product_of.to(device),
            categories=self.categories.to(device),
            competes=self.competes.to(device),
            rivals=self.rivals.to(device),
        )


def softmax_loss(
    queries: Tensor, products: Tensor, batch: SceneBatch, temperature: float
) -> Tensor:
    """How surprising each pair's product is among those that compete, and its scene likewise.

    Queries q_c [B, C, D] and f_p [P, D]; both means over the pairs of -log softmax(q . f / t),
    added.
    """
    own = queries[batch.picture_of, batch.categories]  # [N, D]
    of_products = torch.matmul(own, products.t()) / temperature  # [N, P]
    of_products = of_products.masked_fill(~batch.competes, -math.inf)
    wanted = products[batch.product_of]  # [N, D]
    asked = queries[:, batch.categories]  # [B, N, D]: every picture for the pair's category
    of_scenes = torch.einsum("bnd,nd->nb", asked, wanted) / temperature  # [N, B]
    of_scenes = of_scenes.masked_fill(~batch.rivals, -math.inf)
    return functional.cross_entropy(of_products, batch.product_of) + functional.cross_entropy(
        of_scenes, batch.picture_of
    )


def scene_losses(
    heads: CompatibilityHeads, train: Split, config: SmallDataConfig, random: np.random.Generator
) -> Iterator[Tensor]:
    """The loss of each of an epoch's batches."""
    device = heads.category_embedding.device
    scenes, products = train.features.scenes, train.features.products
    for batch in _batches(train, config, random):
        scene_views = random.integers(scenes.views, size=len(batch.pictures))
        product_views = random.integers(products.views, size=len(batch.products))
        # One pass: batch norm sees scenes and products together, as in the paper's form.
        pooled = torch.cat(
            [
                scenes.pooled(batch.pictures, scene_views),
                products.pooled(batch.products, product_views),
            ]
        )
        styles = heads.embed_pooled(pooled.to(device))  # [B + P, D]
        regions = scenes.regions(batch.pictures, scene_views).to(device)  # [B, R, channels]
        queries = heads.queries(styles[: len(batch.pictures)], regions)  # [B, C, D]
        products_seen = styles[len(batch.pictures) :]  # [P, D]
        yield softmax_loss(queries, products_seen, batch.to(device), config.temperature)


def step_count(train: Split, config: SmallDataConfig) -> int:
    """How many batches an epoch has."""
    return math.ceil(len({pair.scene for pair in train.pairs}) / config.scenes_per_batch)


def learning_rate(config: SmallDataConfig, progress: float) -> float:
    """The rate once a share of all steps is done: a short rise, then a cosine to 0."""
    rise = min(1.0, progress / config.warm_up)
    return config.learning_rate * rise * (1 + math.cos(math.pi * progress)) / 2


def _batches(
    train: Split, config: SmallDataConfig, random: np.random.Generator
) -> Iterator[SceneBatch]:
    pairs_of: dict[str, list[int]] = {}
    for index, pair in enumerate(train.pairs):
        pairs_of.setdefault(pair.scene, []).append(index)
    scenes = sorted(pairs_of)
    order = random.permutation(len(scenes))
    for start in range(0, len(order), config.scenes_per_batch):
        chosen = order[start : start + config.scenes_per_batch]
        pairs = [index for number in chosen for index in pairs_of[scenes[number]]]
        yield scene_batch(train, np.array(pairs), config.products_per_step, random)


def scene_batch(
    train: Split, pairs: NDArray[np.int64], products_at_most: int, random: np.random.Generator
) -> SceneBatch:
    """The batch of some pairs [N], with their own products and as many others as there may be."""
    own = np.unique(train.product_rows[pairs])
    others = np.setdiff1d(np.concatenate(list(train.candidates.values())), own)
    drawn = random.permutation(others)[: max(0, products_at_most - len(own))]
    products = np.sort(np.concatenate([own, drawn]))
    pictures, picture_of = np.unique(train.scene_rows[pairs], return_inverse=True)
    product_of = np.searchsorted(products, train.product_rows[pairs])
    categories = train.categories[pairs]

    numbers = {scene: number for number, scene in enumerate({train.pairs[i].scene for i in pairs})}
    scene_of = np.array([numbers[train.pairs[i].scene] for i in pairs])  # [N]
    scene_of_picture = np.empty(len(pictures), dtype=np.int64)
    scene_of_picture[picture_of] = scene_of
    fits = np.zeros((len(numbers), len(products)), dtype=bool)
    for scene, number in numbers.items():
        for category in train.candidates:
            known = train.fitting.get((scene, category), frozenset())
            fits[number] |= np.isin(products, list(known))
    in_category = {c: np.isin(products, train.candidates[c]) for c in set(categories.tolist())}

    each = np.arange(len(pairs))
    competes = np.stack([in_category[c] for c in categories.tolist()]) & ~fits[scene_of]
    competes[each, product_of] = True
    rivals = ~fits[scene_of_picture][:, product_of].T
    rivals[each, picture_of] = True
    as_tensor = torch.from_numpy
    return SceneBatch(
        pictures,
        products,
        as_tensor(picture_of),
        as_tensor(product_of),
        as_tensor(categories),
        as_tensor(competes),
        as_tensor(np.ascontiguousarray(rivals)),
    )
