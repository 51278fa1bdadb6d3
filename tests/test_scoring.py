"""Scores of any ranker: the true product and the negatives of its category, all or a draw."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from completelook_build.errors import ModelError
from completelook_build.heads import (
    CompatibilityHeads,
    HeadsConfig,
    heads_distances,
    score_pairs,
    scoring,
)

SCENES, PRODUCTS = 3, 40


class FakeSplit:
    """Three scenes, each fitting the product of its own number, of 40 in one category."""

    def __init__(self):
        random = torch.Generator().manual_seed(0)
        self.pairs = tuple(SimpleNamespace(scene=f"s{n}") for n in range(SCENES))
        self.scene_rows = np.arange(SCENES)
        self.product_rows = np.arange(SCENES) + 5
        self.categories = np.zeros(SCENES, dtype=np.int64)
        # The table of products has rows of other splits before and between these.
        self.candidates = {0: np.arange(PRODUCTS) + 5}
        scenes = torch.rand(SCENES, 2048, generator=random)
        regions = torch.rand(SCENES, 9, 1024, generator=random)
        products = torch.rand(PRODUCTS + 5, 2048, generator=random)
        self.features = SimpleNamespace(
            scenes=SimpleNamespace(pooled=lambda r: scenes[r], regions=lambda r: regions[r]),
            products=SimpleNamespace(pooled=lambda r: products[r]),
        )

    def __len__(self):
        return SCENES

    def negatives(self, index):
        return np.setdiff1d(self.candidates[0], self.product_rows[[index]])


def test_distances_that_are_no_numbers_are_refused():
    def broken(_, rows):
        return np.where(rows == rows[-1], np.nan, rows).astype(np.float32)

    split: Any = FakeSplit()
    with pytest.raises(ModelError, match=r"scene s0: .* not finite"):
        score_pairs(split, broken)


def row_as_distance(_, rows):
    return rows.astype(np.float32)


def test_every_negative_is_scored_and_the_true_product_apart():
    split: Any = FakeSplit()
    for index, score in enumerate(score_pairs(split, row_as_distance)):
        assert score.scene == f"s{index}"
        assert score.positive == split.product_rows[index]
        assert score.negatives.tolist() == split.negatives(index).tolist()


def test_a_sample_is_of_the_stated_size_without_repeats_and_by_the_seed():
    split: Any = FakeSplit()
    drawn = [
        [
            score.negatives.tolist()
            for score in score_pairs(split, row_as_distance, sample=6, seed=s)
        ]
        for s in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    for index, rows in enumerate(drawn[0]):
        assert len(set(rows)) == 6
        assert set(rows) <= set(split.negatives(index).tolist())


def test_a_sample_as_large_as_the_category_is_all_of_it():
    split: Any = FakeSplit()
    everything = score_pairs(split, row_as_distance)
    for size in (PRODUCTS - 1, 10 * PRODUCTS):
        sampled = score_pairs(split, row_as_distance, sample=size)
        for one, other in zip(sampled, everything, strict=True):
            assert one.negatives.tolist() == other.negatives.tolist()


@torch.inference_mode()
def test_batches_of_any_size_give_the_models_distances(monkeypatch):
    split: Any = FakeSplit()
    heads = CompatibilityHeads(HeadsConfig(categories=("Rugs",))).eval()
    rows = split.candidates[0]
    monkeypatch.setattr(scoring, "_SCENES_AT_ONCE", 2)
    monkeypatch.setattr(scoring, "_PRODUCTS_AT_ONCE", 7)
    distances = heads_distances(heads, split)
    expected = heads(
        split.features.scenes.pooled(split.scene_rows),
        split.features.scenes.regions(split.scene_rows),
        torch.from_numpy(split.categories),
        split.features.products.pooled(rows).expand(SCENES, -1, -1),
    )
    for index in range(SCENES):
        assert distances(index, rows) == pytest.approx(expected[index].numpy(), abs=1e-5)
        assert distances(index, rows[::-3]) == pytest.approx(
            expected[index].numpy()[::-3], abs=1e-5
        )
