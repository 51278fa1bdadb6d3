"""Parity of an export: the served heads against those in training, on trained statistics."""

import numpy as np
import pytest
import torch
from completelook_build.errors import ExportError
from completelook_build.export import check_parity
from completelook_build.features.split import make_split
from completelook_build.heads import HeadsConfig, ProductHead, SceneHead, served
from completelook_build.training import TrainingConfig, train_heads
from planted import CATEGORIES, SmallBackbone, plant_pairs
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

HEADS_ID = 10


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Heads with the statistics of a training: of its features, and of its batch norms."""
    features = plant_pairs(tmp_path_factory.mktemp("parity"))
    train, validation = (make_split(features, name, CATEGORIES) for name in ("train", "validation"))
    config = HeadsConfig(categories=CATEGORIES, attention_scale=5.0)
    return train_heads(train, validation, config, TrainingConfig(epochs=1)).heads


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
    parity = check_parity(scripts(heads), SmallBackbone(), heads, HEADS_ID)
    assert list(parity.embeddings) == [1, 2, 7]
    assert max(*parity.embeddings.values(), parity.distance) < 1e-5


def flipped_deviation(standardise, embedding):
    linear = fuse_linear_bn_eval(embedding.layers[0], embedding.layers[1])
    linear.weight.data *= standardise.deviation
    linear.bias.data -= torch.mv(linear.weight.data, standardise.mean)
    return linear


def flipped_mean(standardise, embedding):
    linear = fuse_linear_bn_eval(embedding.layers[0], embedding.layers[1])
    linear.weight.data /= standardise.deviation
    linear.bias.data += torch.mv(linear.weight.data, standardise.mean)
    return linear


def without_the_batch_norm(standardise, embedding):
    linear = fuse_linear_bn_eval(embedding.layers[0], nn.BatchNorm1d(128).eval())
    linear.weight.data /= standardise.deviation
    linear.bias.data -= torch.mv(linear.weight.data, standardise.mean)
    return linear


@pytest.mark.parametrize("fold", [flipped_deviation, flipped_mean, without_the_batch_norm])
def test_a_wrong_fold_is_refused(heads, monkeypatch, fold):
    monkeypatch.setattr(served, "_fold", fold)
    with pytest.raises(ExportError, match="differs from the trained model's"):
        check_parity(scripts(heads), SmallBackbone(), heads, HEADS_ID)


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
        check_parity(modules, SmallBackbone(), heads, HEADS_ID)


def test_a_wrong_training_side_is_found_by_the_papers_loop(heads, monkeypatch):
    """Where both sides share a fault, the paper's formula alone tells."""
    monkeypatch.setattr("completelook_build.export.parity._farthest", only_of_distances)
    with torch.no_grad():
        modules = scripts(heads)
        modules["product_head"] = Shifted(modules["product_head"])
    with pytest.raises(ExportError, match="the distance at batch 1"):
        check_parity(modules, SmallBackbone(), heads, HEADS_ID)


class Shifted(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, *inputs):
        embedding, model_id = self.head(*inputs)
        return -embedding, model_id


def only_of_distances(one, other):
    return float((one - other).abs().max()) if one.ndim == 1 else 0.0
