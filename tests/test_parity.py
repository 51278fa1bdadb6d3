"""Parity of an export: the served heads against those in training, on trained statistics."""

import copy

import numpy as np
import pytest
import torch
from completelook_build.errors import ExportError
from completelook_build.export.parity import TOLERANCES, check_parity
from completelook_build.features.split import make_split
from completelook_build.heads import CompatibilityHeads, HeadsConfig, ProductHead, SceneHead, served
from completelook_build.training import TrainingConfig, train_heads
from planted import CATEGORIES, SmallBackbone, plant_pairs
from torch import nn

HEADS_ID = 10


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Heads with the statistics of a training: of its features, and of its batch norms."""
    features = plant_pairs(tmp_path_factory.mktemp("parity"))
    train, validation = (make_split(features, name, CATEGORIES) for name in ("train", "validation"))
    config = HeadsConfig(categories=CATEGORIES, attention_scale=5.0)
    return train_heads(train, validation, config, TrainingConfig(epochs=1)).heads


@pytest.fixture(scope="module")
def few_scenes(heads):
    """Heads with a projection and a skip: a training's statistics and random weights."""
    config = HeadsConfig(
        categories=CATEGORIES, attention_scale=5.0, projected_size=16, global_skip=True
    )
    torch.manual_seed(0)
    made = CompatibilityHeads(config).eval()
    made.standardise_pooled = heads.standardise_pooled
    made.standardise_regions = heads.standardise_regions
    made.project_pooled.fit(torch.randn(40, 2048))
    for statistics in made.g_global.layers[1].buffers():
        if statistics.is_floating_point():
            statistics.uniform_(0.5, 2)
    return made


def test_the_served_heads_for_few_scenes_answer_as_the_trained_ones(few_scenes):
    parity = parity_of(scripts(few_scenes), few_scenes)
    assert max(*parity.embeddings.values(), parity.distance) < 1e-5


def parity_of(modules, heads):
    return check_parity(modules, SmallBackbone(), heads, HEADS_ID, TOLERANCES["fp32"])


def scripts(heads):
    modules = {
        "backbone": SmallBackbone(),
        "scene_head": SceneHead(heads, HEADS_ID),
        "product_head": ProductHead(heads, HEADS_ID),
    }
    return {name: torch.jit.script(module.eval()) for name, module in modules.items()}


def test_training_moved_every_statistic_that_a_fold_uses(heads):
    for name, initial in (("mean", 0.0), ("deviation", 1.0)):
        assert not getattr(heads.standardise_regions, name).eq(initial).any()
    norm = heads.g_local.layers[1]
    for values, initial in ((norm.running_mean, 0), (norm.running_var, 1), (norm.bias, 0)):
        assert not values.eq(initial).any()


def test_the_served_heads_answer_as_the_trained_ones_and_as_the_papers_loop(heads):
    parity = parity_of(scripts(heads), heads)
    assert list(parity.embeddings) == [1, 2, 7]
    assert max(*parity.embeddings.values(), parity.distance) < 1e-5


def flipped_deviation(scaled):
    def fold(standardise, linear):
        wrong = copy.deepcopy(standardise)
        wrong.deviation.reciprocal_()
        return scaled(wrong, linear)

    return fold


def flipped_mean(behind):
    def fold(standardise, linear, projection=None):
        wrong = copy.deepcopy(standardise)
        wrong.mean.neg_()
        return behind(wrong, linear, projection)

    return fold


@pytest.mark.parametrize(
    ("name", "wrong"), [("_scaled", flipped_deviation), ("_behind", flipped_mean)]
)
def test_a_wrong_fold_is_refused(heads, monkeypatch, name, wrong):
    monkeypatch.setattr(served, name, wrong(getattr(served, name)))
    with pytest.raises(ExportError, match="differs from the trained model's"):
        parity_of(scripts(heads), heads)


def test_regions_about_another_mean_are_refused(heads):
    modules = scripts(heads)
    modules["scene_head"].mean.neg_()
    with pytest.raises(ExportError, match="differs from the trained model's"):
        parity_of(modules, heads)


def test_regions_of_a_short_type_are_as_exact_where_their_mean_is_large(heads):
    """Folded away, a mean of 200 deviations would leave a short type no digit of what matters."""
    backbone, far = SmallBackbone(), copy.deepcopy(heads)
    far.standardise_regions.mean += 200
    images = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    feature_map, pooled, model_id = backbone(images)
    near = SceneHead(heads, HEADS_ID).eval()(feature_map, pooled, model_id)
    short = SceneHead(far, HEADS_ID, torch.bfloat16).eval()(feature_map + 200, pooled, model_id)
    for one, other in zip(near, short, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCES["bf16"])


def test_a_forgotten_batch_norm_is_refused(heads, monkeypatch):
    monkeypatch.setattr(served, "_without_norm", lambda embedding: embedding.layers[0])
    with pytest.raises(ExportError, match="differs from the trained model's"):
        parity_of(scripts(heads), heads)


@pytest.mark.parametrize("lost", ["skip", "project_pooled"])
def test_a_part_for_few_scenes_that_is_not_served_is_refused(few_scenes, lost):
    served_heads = copy.deepcopy(few_scenes)
    part = served_heads.g_global.skip if lost == "skip" else served_heads.project_pooled
    part.weight.data.neg_()
    with pytest.raises(ExportError, match="differs from the trained model's"):
        parity_of(scripts(served_heads), few_scenes)


@pytest.mark.parametrize("output", range(5))
def test_an_answer_that_is_no_number_is_refused(heads, output):
    class Broken(nn.Module):
        def __init__(self, head):
            super().__init__()
            self.head = head

        def forward(self, *inputs):
            answers = [value.clone() for value in self.head(*inputs)]
            if answers[output].is_floating_point():
                answers[output].flatten()[-1] = np.nan
            else:
                answers[output] += 1
            return tuple(answers)

    modules = scripts(heads)
    modules["scene_head"] = Broken(modules["scene_head"])
    with pytest.raises(ExportError, match=r"by nan, more than|another MODEL_ID"):
        parity_of(modules, heads)


def test_a_wrong_training_side_is_found_by_the_papers_loop(heads, monkeypatch):
    """Where both sides share a fault, the paper's formula alone tells."""
    monkeypatch.setattr("completelook_build.export.parity._farthest", only_of_distances)
    with torch.no_grad():
        modules = scripts(heads)
        modules["product_head"] = Shifted(modules["product_head"])
    with pytest.raises(ExportError, match="the distance at batch 1"):
        parity_of(modules, heads)


class Shifted(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, *inputs):
        embedding, model_id = self.head(*inputs)
        return -embedding, model_id


def only_of_distances(one, other):
    return float((one - other).abs().max()) if one.ndim == 1 else 0.0
