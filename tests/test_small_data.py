"""The recipe for few scenes: its loss is the loops', batches are whole scenes, and it learns."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from completelook_build import distributed
from completelook_build.errors import TrainingError
from completelook_build.features import make_split
from completelook_build.heads import (
    CompatibilityHeads,
    HeadsConfig,
    Projection,
    pairwise_accuracy,
    score_split,
)
from completelook_build.training import SmallDataConfig, softmax_loss, train_heads
from completelook_build.training.loop import standardise_inputs
from completelook_build.training.softmax import learning_rate, scene_batch, scene_losses
from planted import CATEGORIES, plant_pairs

CONFIG = HeadsConfig(categories=CATEGORIES, projected_size=32, global_skip=True)
RECIPE = SmallDataConfig(epochs=12, scenes_per_batch=8)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return plant_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def splits(features):
    return tuple(make_split(features, name, CATEGORIES) for name in ("train", "validation"))


@pytest.fixture(scope="module")
def trained(splits):
    return train_heads(splits[0], splits[1], CONFIG, RECIPE)


@pytest.fixture(scope="module")
def batch(splits):
    """Of four scenes of two of the three styles, with two products that are not theirs."""
    train, _ = splits
    of_style = [sorted({p.scene for p in train.pairs if int(p.scene[1:]) % 3 == n}) for n in (0, 1)]
    scenes = [scene for scenes in of_style for scene in scenes[:2]]
    pairs = [index for index, pair in enumerate(train.pairs) if pair.scene in scenes]
    own = len(set(train.product_rows[pairs].tolist()))
    return pairs, scene_batch(train, np.array(pairs), own + 2, np.random.default_rng(0))


def fits(split, scene):
    return {row for (other, _), rows in split.fitting.items() for row in rows if other == scene}


def slow_softmax_loss(queries, products, split, pairs, batch, temperature):
    """Pair by pair, from the split itself."""
    pictures, rows = batch.pictures.tolist(), batch.products.tolist()
    scene_of = {int(split.scene_rows[i]): split.pairs[i].scene for i in range(len(split))}
    total = 0.0
    for index in pairs:
        category, own = int(split.categories[index]), int(split.product_rows[index])
        picture, scene = int(split.scene_rows[index]), split.pairs[index].scene

        def score(picture, row, category=category):
            query, product = queries[pictures.index(picture)][category], products[rows.index(row)]
            return sum(q * p for q, p in zip(query, product, strict=True)) / temperature

        candidates = split.candidates[category].tolist()
        others = [r for r in rows if r in candidates and r not in fits(split, scene)]
        among = sum(math.exp(score(picture, row)) for row in [own, *others])
        total -= math.log(math.exp(score(picture, own)) / among)
        rivals = [p for p in pictures if own not in fits(split, scene_of[p])]
        among = sum(math.exp(score(p, own)) for p in [picture, *rivals])
        total -= math.log(math.exp(score(picture, own)) / among)
    return total / len(pairs)


def test_the_softmax_is_the_loops(splits, batch):
    pairs, made = batch
    random = torch.Generator().manual_seed(0)
    queries = torch.randn(len(made.pictures), len(CATEGORIES), 128, generator=random) / 11
    products = torch.randn(len(made.products), 128, generator=random) / 11
    expected = slow_softmax_loss(
        queries.tolist(), products.tolist(), splits[0], pairs, made, temperature=0.3
    )
    assert softmax_loss(queries, products, made, 0.3).item() == pytest.approx(expected, abs=1e-5)


def test_a_batch_holds_its_own_products_and_no_more_others_than_allowed(splits, batch):
    train, _ = splits
    pairs, made = batch
    own = set(train.product_rows[pairs].tolist())
    assert own < set(made.products.tolist())
    assert len(made.products) == len(own) + 2


def test_every_pair_is_met_once_an_epoch(splits):
    train, _ = splits
    heads = CompatibilityHeads(CONFIG)
    losses = list(scene_losses(heads, train, RECIPE, np.random.default_rng(0)))
    scenes = len({pair.scene for pair in train.pairs})
    assert len(losses) == math.ceil(scenes / RECIPE.scenes_per_batch)


def test_it_learns_what_was_planted(features, trained):
    test = make_split(features, "test", CATEGORIES)
    assert pairwise_accuracy(score_split(trained.heads, test)) > 0.8


def test_the_last_epoch_is_kept(trained, splits):
    assert trained.kept == trained.history[-1]
    assert pairwise_accuracy(score_split(trained.heads, splits[1])) == pytest.approx(
        trained.kept.validation_accuracy
    )


def test_the_same_seed_trains_the_same_heads(splits, trained):
    again = train_heads(splits[0], splits[1], CONFIG, RECIPE)
    # The last bits of a matrix product depend on where the allocator puts it.
    assert [epoch.loss for epoch in again.history] == pytest.approx(
        [epoch.loss for epoch in trained.history], rel=1e-4
    )
    other = train_heads(splits[0], splits[1], CONFIG, replace(RECIPE, epochs=1, seed=1))
    assert other.history[0].loss != pytest.approx(trained.history[0].loss, rel=1e-3)


def test_the_rate_rises_and_falls_to_nothing():
    rates = [learning_rate(RECIPE, step / 100) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[5] == pytest.approx(RECIPE.learning_rate, rel=0.01)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[100] == pytest.approx(0)


def test_several_processes_are_refused(splits, monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(TrainingError, match="without torchrun"):
        train_heads(splits[0], splits[1], CONFIG, RECIPE)


def test_global_only_asks_the_same_of_every_category():
    heads = CompatibilityHeads(replace(CONFIG, form="global_only")).eval()
    scenes = torch.nn.functional.normalize(torch.randn(3, 128), dim=1)
    queries = heads.queries(scenes, torch.rand(3, 4, 1024))
    assert torch.equal(queries, (2 * scenes)[:, None].expand(-1, len(CATEGORIES), -1))


def test_queries_are_those_of_each_category_alone():
    heads = CompatibilityHeads(CONFIG).eval()
    scenes = torch.nn.functional.normalize(torch.randn(3, 128), dim=1)
    regions = torch.rand(3, 4, 1024)
    together = heads.queries(scenes, regions)
    for category in range(len(CATEGORIES)):
        context = heads.embed_context(regions, torch.full((3,), category))
        assert torch.allclose(together[:, category], heads.query(scenes, context), atol=1e-6)


def test_the_projection_is_that_of_the_covariances_eigenvectors():
    random = torch.Generator().manual_seed(0)
    scales = torch.tensor([9.0, 4.0, 2.0, 1.0, 0.1, 0.1])
    features = torch.randn(500, 6, generator=random) * scales
    features -= features.mean(dim=0)
    projection = Projection(6, 3)
    projection.fit(features)
    projected = projection(features)
    values, vectors = np.linalg.eigh(np.cov(features.T.numpy(), bias=True))
    for component in range(3):
        expected = features.numpy() @ vectors[:, -1 - component] / np.sqrt(values[-3:].mean())
        sign = np.sign(expected[0] * projected[0, component].item())
        assert projected[:, component].numpy() * sign == pytest.approx(expected, abs=1e-3)
    assert projected.var(dim=0, correction=0).mean().item() == pytest.approx(1, rel=1e-4)


def test_more_components_than_pictures_are_left_at_nothing():
    projection = Projection(6, 5)
    projection.fit(torch.randn(3, 6))
    assert projection.weight[:3].abs().sum(dim=1).gt(0).all()
    assert projection.weight[3:].eq(0).all()


def test_the_inputs_statistics_are_of_the_training_pictures(splits):
    heads = CompatibilityHeads(CONFIG)
    standardise_inputs(heads, splits[0], np.random.default_rng(0))
    train = splits[0]
    seen = torch.cat(
        [
            train.features.scenes.pooled(np.unique(train.scene_rows)),
            train.features.products.pooled(np.unique(train.product_rows)),
        ]
    )
    projected = heads.pooled_features(seen)
    assert projected.mean(dim=0).abs().max() < 1e-3
