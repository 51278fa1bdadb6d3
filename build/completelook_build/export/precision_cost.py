"""What a reduced precision costs: its rankings of the test pairs against those of FP32.

Both sides are the very backbone and heads that an export scripts, in either precision. Features
come through the cache, as those of `evaluate`: regions as FP16, which holds every BF16 and FP16 map
as it is.

Shapes: N pairs, P products, B scenes or products at a time, R = 196 regions, C categories, D = 128.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from completelook.contract import REGION_GRID
from numpy.typing import NDArray

from completelook_build.backbones import PRECISIONS
from completelook_build.data import Dataset
from completelook_build.features import Split, read_features
from completelook_build.heads import (
    Distances,
    ProductHead,
    SceneHead,
    candidate_rows,
    pairwise_accuracy,
    score_pairs,
)
from completelook_build.training import TrainedModel, read_held_out

TOP = 10
_SCENES_AT_ONCE = 64  # their regions take 50 MB
_PRODUCTS_AT_ONCE = 1024  # their features 8 MB
REFERENCE = "fp32"
NOT_MEASURED = (
    f"cost against {REFERENCE}: not measured; --data DIR measures "
    f"pairwise accuracy and top-{TOP} overlap on the test scenes"
)


@dataclass(frozen=True)
class PrecisionCost:
    """How a reduced precision ranks the products of the test pairs, beside FP32."""

    precision: str
    pairs: int
    reference_accuracy: float  # pairwise, in FP32
    accuracy: float  # pairwise, in the reduced precision
    overlap: "TopOverlap | None"  # None where no pair has more than `TOP` products to rank

    def as_text(self) -> str:
        """What a person wants to know, in two lines."""
        overlap = f"not defined, no pair has more than {TOP} products to rank"
        if self.overlap is not None:
            overlap = (
                f"{self.overlap.share:.4f}, mean of {self.overlap.pairs} pairs with "
                f"{self.overlap.candidates:.1f} products to rank on average"
            )
        return (
            f"pairwise accuracy on {self.pairs} test pairs: {self.reference_accuracy:.4f} in "
            f"{REFERENCE}, {self.accuracy:.4f} in {self.precision}\n"
            f"top-{TOP} overlap of {self.precision} with {REFERENCE}: {overlap}"
        )


@dataclass(frozen=True)
class TopOverlap:
    """What two rankers have in common among the `TOP` nearest products, the mean over pairs.

    By lot they would share `TOP` / `candidates`: so few products make any two look alike.
    """

    share: float
    pairs: int  # those with more than `TOP` products; any two rankers agree on all of fewer
    candidates: float  # the products ranked for such a pair, the mean


def measure_cost(model: TrainedModel, precision: str, dataset: Dataset) -> PrecisionCost:
    """Rank the products of the test pairs in FP32 and in another precision. Raises DataError."""
    test = read_held_out(model, dataset, ("test",), trained_scenes=True)["test"]
    # The same pairs and candidates in the same rows: only what the backbone made of them differs.
    cached = read_features(
        test.features.data, model.backbone(precision), dataset.features, ("test",)
    )
    reference = exported_distances(model, test, REFERENCE)
    reduced = exported_distances(model, replace(test, features=cached), precision)
    return PrecisionCost(
        precision,
        len(test),
        pairwise_accuracy(score_pairs(test, reference)),
        pairwise_accuracy(score_pairs(test, reduced)),
        top_overlap(test, reference, reduced),
    )


@torch.inference_mode()
def exported_distances(model: TrainedModel, split: Split, precision: str) -> Distances:
    """The d = 2 - q_c . f_p of the heads as they are exported, on features of the backbone."""
    scene_head = SceneHead(model.heads, model.heads_id, PRECISIONS[precision]).eval()
    queries = np.concatenate(
        [
            _queries(scene_head, split, slice(start, start + _SCENES_AT_ONCE))
            for start in range(0, len(split), _SCENES_AT_ONCE)
        ]
    )  # [N, D]
    product_head = ProductHead(model.heads, model.heads_id).eval()
    rows = candidate_rows(split)  # [P]
    embeddings = np.concatenate(
        [
            _embeddings(product_head, split, rows[start : start + _PRODUCTS_AT_ONCE])
            for start in range(0, len(rows), _PRODUCTS_AT_ONCE)
        ]
    )  # [P, D]

    def distances(index: int, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
        similarities = embeddings[np.searchsorted(rows, wanted)] @ queries[index]
        measured: NDArray[np.float32] = 2.0 - similarities
        return measured

    return distances


def _queries(scene_head: SceneHead, split: Split, pairs: slice) -> NDArray[np.float32]:
    """q_c = f_s + sum_i a_i(c) f_i of some pairs' scenes and categories, [B, D]."""
    rows = split.scene_rows[pairs]
    regions = split.features.scenes.regions(rows)  # [B, R, channels]
    feature_map = regions.transpose(1, 2).unflatten(2, [REGION_GRID, REGION_GRID])
    scenes, contexts, *_ = scene_head(
        feature_map, split.features.scenes.pooled(rows), _no_ids(len(rows))
    )
    of_category = contexts[torch.arange(len(rows)), torch.from_numpy(split.categories[pairs])]
    queries: NDArray[np.float32] = (scenes + of_category).numpy()
    return queries


def _embeddings(
    product_head: ProductHead, split: Split, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """f_p of some products, [B, D]."""
    pooled = split.features.products.pooled(rows)
    embeddings: NDArray[np.float32] = product_head(pooled, _no_ids(len(rows)))[0].numpy()
    return embeddings


def _no_ids(batch: int) -> torch.Tensor:
    """What stands in for a backbone's id where nobody asks for the model's: [B, 1]."""
    return torch.zeros(batch, 1, dtype=torch.int64)


def top_overlap(split: Split, first: Distances, second: Distances) -> TopOverlap | None:
    """How far two rankers agree on the `TOP` nearest products, None where no pair has more.

    Every product of a pair's category is ranked, those known to fit its scene included.
    """
    shares, counts = [], []
    for index, category in enumerate(split.categories.tolist()):
        candidates = split.candidates[category]  # [M]
        if len(candidates) > TOP:
            nearest = _nearest(candidates, first(index, candidates))
            shared = nearest & _nearest(candidates, second(index, candidates))
            shares.append(len(shared) / TOP)
            counts.append(len(candidates))
    if not shares:
        return None
    return TopOverlap(float(np.mean(shares)), len(shares), float(np.mean(counts)))


def _nearest(candidates: NDArray[np.int64], distances: NDArray[np.float32]) -> set[int]:
    """The rows of the `TOP` nearest candidates; of equal distances the first, for every ranker."""
    return set(candidates[np.argsort(distances, kind="stable")[:TOP]].tolist())
