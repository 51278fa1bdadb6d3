"""The model against the paper's formulas, written as loops."""

import numpy as np
import pytest
import torch
from completelook_build.heads import (
    CompatibilityHeads,
    Dropout,
    HeadsConfig,
    ProductHead,
    SceneHead,
)
from completelook_build.training import triplet_hinge
from planted import set_statistics

CATEGORIES = ("Rugs", "Lamps", "Chairs")


@pytest.fixture(params=[None, 5.0], ids=["paper's attention", "scaled attention"])
def heads(request):
    torch.manual_seed(0)
    config = HeadsConfig(categories=CATEGORIES, attention_scale=request.param)
    heads = CompatibilityHeads(config).eval()
    set_statistics(heads)
    return heads


@pytest.fixture
def features():
    random = torch.Generator().manual_seed(1)
    pooled = torch.rand(2, 2048, generator=random)
    regions = torch.rand(2, 196, 1024, generator=random)
    products = torch.rand(2, 4, 2048, generator=random)
    return pooled, regions, products


def slow_distance(heads, pooled, regions, category, product):
    """The paper's d(s, p) for one scene and product, region by region."""

    def g(embedding, vector):
        return embedding(vector.unsqueeze(0))[0].double().numpy()

    scene, item = g(heads.embed_pooled, pooled), g(heads.embed_pooled, product)
    direction = heads.category_embedding[category].detach().double().numpy()
    direction = direction / np.linalg.norm(direction)
    scale = float(heads.attention_log_scale.exp())
    logits, local_distances = [], []
    for region in heads.standardise_regions(regions):
        key = g(heads.g_attention, region)
        logits.append(-scale * sum((k - e) ** 2 for k, e in zip(key, direction, strict=True)))
        style = g(heads.g_local, region)
        local_distances.append(sum((f - p) ** 2 for f, p in zip(style, item, strict=True)))
    weights = [np.exp(logit - max(logits)) for logit in logits]
    attention = [weight / sum(weights) for weight in weights]
    d_local = sum(a * d for a, d in zip(attention, local_distances, strict=True))
    d_global = sum((s - p) ** 2 for s, p in zip(scene, item, strict=True))
    return (d_global + d_local) / 2


@torch.no_grad()
def test_the_distance_is_the_papers_sum_over_regions(heads, features):
    pooled, regions, products = features
    categories = torch.tensor([2, 0])
    fast = heads(pooled, regions, categories, products)
    for scene in range(2):
        for product in range(4):
            slow = slow_distance(
                heads, pooled[scene], regions[scene], categories[scene], products[scene, product]
            )
            assert float(fast[scene, product]) == pytest.approx(slow, abs=1e-5)


@torch.no_grad()
def test_attention_sums_to_one_over_regions(heads, features):
    attention, _ = heads.embed_regions(features[1])
    assert attention.shape == (2, len(CATEGORIES), 196)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(2, len(CATEGORIES)))


@torch.no_grad()
def test_served_heads_give_the_trained_distance(heads, features):
    pooled, regions, products = features
    backbone_id = torch.full((2, 1), 12, dtype=torch.int64)
    feature_map = regions.transpose(1, 2).unflatten(2, (14, 14))
    scene_head, product_head = SceneHead(heads, 10), ProductHead(heads, 10)
    scene, contexts, model_id, attention, local = scene_head(feature_map, pooled, backbone_id)
    embedding, product_model_id = product_head(products[:, 0], backbone_id)
    served = 2 - ((scene + contexts[:, 1]) * embedding).sum(dim=1)
    trained = heads(pooled, regions, torch.tensor([1, 1]), products[:, :1])[:, 0]
    torch.testing.assert_close(served, trained)
    assert model_id.tolist() == product_model_id.tolist() == [[12 ^ 10], [12 ^ 10]]
    assert attention.shape == (2, 3, 14, 14)
    assert local.shape == (2, 196, 128)


def test_the_category_embedding_and_the_scale_are_trained(features):
    heads = CompatibilityHeads(HeadsConfig(categories=CATEGORIES, attention_scale=5.0))
    heads(features[0], features[1], torch.tensor([0, 1]), features[2]).sum().backward()
    assert heads.category_embedding.grad[:2].abs().sum() > 0
    assert heads.attention_log_scale.grad is not None


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-60, float("nan"), float("inf")])
def test_a_scale_without_a_logarithm_is_refused(scale):
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        HeadsConfig(categories=CATEGORIES, attention_scale=scale)


def test_the_papers_form_has_no_scale_to_learn():
    heads = CompatibilityHeads(HeadsConfig(categories=CATEGORIES))
    assert not heads.attention_log_scale.requires_grad
    assert float(heads.attention_log_scale.exp()) == 1.0


def test_the_triplet_hinge_is_the_loop_over_negatives():
    distances = torch.tensor([[0.5, 0.6, 2.0], [1.0, 0.3, 1.1]])
    slow = [max(0.0, float(row[0] - negative) + 0.2) for row in distances for negative in row[1:]]
    assert float(triplet_hinge(distances, 0.2)) == pytest.approx(sum(slow) / len(slow))


def test_standardising_inside_the_first_layer_changes_nothing(heads, features):
    _, regions, _ = features
    heads.standardise_regions.mean.copy_(torch.linspace(-1, 1, 1024))
    heads.standardise_regions.deviation.copy_(torch.linspace(0.1, 2, 1024))
    flat = regions.flatten(0, 1)
    expected = heads.g_local(heads.standardise_regions(flat))
    _, local = heads.embed_regions(regions)
    torch.testing.assert_close(local.flatten(0, 1), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("probability", [0.25, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(probability):
    torch.manual_seed(0)
    dropout = Dropout(probability)
    dropped = dropout(torch.ones(1001, 99))
    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - probability)])
    assert torch.equal(dropout.eval()(torch.ones(3, 5)), torch.ones(3, 5))
