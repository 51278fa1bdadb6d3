"""Distances of a split's pairs: each true product and its negatives, as a model sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from completelook_build.model import CompatibilityHeads
from completelook_build.split import Split

_BATCH_SIZE = 64


@dataclass(frozen=True)
class PairScore:
    """How far a scene is from its true product and from the negatives of the same category."""

    scene: str
    category: int
    positive: float
    negatives: NDArray[np.float32]


def score_split(heads: CompatibilityHeads, split: Split) -> list[PairScore]:
    """Every pair's distances, to all negatives of its category."""
    queries = _queries(heads, split)  # [N, D]
    embeddings = _product_embeddings(heads, split)  # product row -> [D]
    scores = []
    for index, pair in enumerate(split.pairs):
        negatives = np.stack([embeddings[row] for row in split.negatives(index)])  # [M, D]
        positive = embeddings[int(split.product_rows[index])]
        scores.append(
            PairScore(
                pair.scene,
                int(split.categories[index]),
                float(2.0 - queries[index] @ positive),
                2.0 - negatives @ queries[index],
            )
        )
    return scores


def pairwise_accuracy(scores: Sequence[PairScore]) -> float:
    """The share of negatives that lie farther than the true product, averaged over pairs.

    Ties count half. Paper section 4.2, binary accuracy, over every negative of the category.
    """
    return float(np.mean([pair_accuracy(score) for score in scores]))


def pair_accuracy(score: PairScore) -> float:
    """The share of one pair's negatives that lie farther than its true product."""
    farther = np.mean(score.negatives > score.positive)
    tied = np.mean(score.negatives == score.positive)
    return float(farther + tied / 2)


@torch.inference_mode()
def _queries(heads: CompatibilityHeads, split: Split) -> NDArray[np.float32]:
    """q_c = f_s + sum_i a_i(c) f_i of each pair's scene and category, [N, D]."""
    heads.eval()
    queries = []
    for start in range(0, len(split), _BATCH_SIZE):
        rows = split.scene_rows[start : start + _BATCH_SIZE]
        categories = torch.from_numpy(split.categories[start : start + _BATCH_SIZE])
        scenes = heads.embed_pooled(split.features.scenes.pooled(rows))  # [B, D]
        contexts = heads.embed_context(split.features.scenes.regions(rows), categories)  # [B, D]
        queries.append((scenes + contexts).numpy())
    return np.concatenate(queries)


@torch.inference_mode()
def _product_embeddings(heads: CompatibilityHeads, split: Split) -> dict[int, NDArray[np.float32]]:
    heads.eval()
    rows = np.concatenate(list(split.candidates.values()))
    embeddings = heads.embed_pooled(split.features.products.pooled(rows)).numpy()  # [P, D]
    return dict(zip(rows.tolist(), embeddings, strict=True))
