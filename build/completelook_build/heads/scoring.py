"""Distances of a split's pairs: each true product and its negatives, as a ranker sees them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from completelook_build.errors import ModelError
from completelook_build.features import Split
from completelook_build.heads.compatibility import CompatibilityHeads

# A pair of the split and product rows [M] -> their distances [M], smaller is more compatible.
Distances = Callable[[int, NDArray[np.int64]], NDArray[np.float32]]

# Regions of 64 scenes take 50 MB, features of 1,024 products 8 MB.
_SCENES_AT_ONCE = 64
_PRODUCTS_AT_ONCE = 1024


@dataclass(frozen=True)
class PairScore:
    """How far a scene is from its true product and from the negatives of the same category."""

    scene: str
    category: int
    positive: float
    negatives: NDArray[np.float32]


def score_pairs(
    split: Split, distances: Distances, *, sample: int | None = None, seed: int = 0
) -> list[PairScore]:
    """Every pair's distances to its product and to the negatives of its category.

    `sample` draws that many of a pair's negatives, without replacement; a pair that has no more
    keeps all. The same split and seed give every ranker the same draw. Raises ModelError where a
    distance is not finite.
    """
    random = np.random.default_rng(seed)
    scores = []
    for index, pair in enumerate(split.pairs):
        negatives = split.negatives(index)  # [M]
        if sample is not None and sample < len(negatives):
            negatives = random.choice(negatives, sample, replace=False)
        measured = distances(index, np.append(split.product_rows[index], negatives))  # [1 + M]
        if not np.isfinite(measured).all():
            raise ModelError(
                f"scene {pair.scene}: a distance to one of its products is not finite; its weights "
                "or the cached features are damaged: train it anew, on features computed anew"
            )
        scores.append(
            PairScore(pair.scene, int(split.categories[index]), float(measured[0]), measured[1:])
        )
    return scores


def heads_distances(heads: CompatibilityHeads, split: Split) -> Distances:
    """The model's d = 2 - q_c . f_p, each scene and product embedded once."""
    rows = candidate_rows(split)  # [P]
    queries = _queries(heads, split)  # [N, D]
    embeddings = _product_embeddings(heads, split, rows)  # [P, D]

    def distances(index: int, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        similarities = embeddings[np.searchsorted(rows, wanted)] @ queries[index]  # [M]
        measured: NDArray[np.float32] = 2.0 - similarities
        return measured

    return distances


def score_split(heads: CompatibilityHeads, split: Split) -> list[PairScore]:
    """Every pair's distances under the model, to all negatives of its category."""
    return score_pairs(split, heads_distances(heads, split))


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


def candidate_rows(split: Split) -> NDArray[np.int64]:
    """The rows of every product that a split ranks, sorted, [P]."""
    rows: NDArray[np.int64] = np.unique(np.concatenate(list(split.candidates.values())))
    return rows


@torch.inference_mode()
def _queries(heads: CompatibilityHeads, split: Split) -> NDArray[np.float32]:
    """q_c = f_s + sum_i a_i(c) f_i of each pair's scene and category, [N, D]."""
    heads.eval()
    device = heads.category_embedding.device
    queries = []
    for start in range(0, len(split), _SCENES_AT_ONCE):
        rows = split.scene_rows[start : start + _SCENES_AT_ONCE]
        categories = torch.from_numpy(split.categories[start : start + _SCENES_AT_ONCE])
        scenes = heads.embed_pooled(split.features.scenes.pooled(rows).to(device))  # [B, D]
        regions = split.features.scenes.regions(rows).to(device)
        contexts = heads.embed_context(regions, categories.to(device))  # [B, D]
        queries.append(heads.query(scenes, contexts).cpu().numpy())
    return np.concatenate(queries)


@torch.inference_mode()
def _product_embeddings(
    heads: CompatibilityHeads, split: Split, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """f_p of some products, [P, D]."""
    heads.eval()
    device = heads.category_embedding.device
    embeddings = []
    for start in range(0, len(rows), _PRODUCTS_AT_ONCE):
        pooled = split.features.products.pooled(rows[start : start + _PRODUCTS_AT_ONCE])
        embeddings.append(heads.embed_pooled(pooled.to(device)).cpu().numpy())
    return np.concatenate(embeddings)
