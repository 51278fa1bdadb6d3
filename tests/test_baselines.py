"""The baselines: their losses against loops, and that they learn, count and draw as they should."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from completelook_build.evaluation import baselines
from completelook_build.evaluation.baselines import (
    DualAutoencoder,
    ImageBasedRecommendation,
    SiameseNets,
    baseline_distances,
    chance_distances,
    fit_baseline,
    popularity_distances,
    raw_distances,
    train_baseline,
)
from completelook_build.features.split import make_split
from completelook_build.heads import candidate_rows, pairwise_accuracy, score_pairs
from completelook_build.training import TrainingConfig
from planted import CATEGORIES, plant_pairs

CHOICES = [
    pytest.param(partial(ImageBasedRecommendation, rank=10), id="IBR"),
    pytest.param(partial(SiameseNets, margin=1.0), id="Siamese nets"),
    pytest.param(partial(DualAutoencoder, reconstruction_weight=0.1), id="BPR-DAE"),
]


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    features = plant_pairs(tmp_path_factory.mktemp("pairs"))
    names = ("train", "validation", "test")
    return tuple(make_split(features, name, CATEGORIES) for name in names)


@pytest.fixture
def batch():
    """Three scenes, each with its positive and two negatives."""
    random = torch.Generator().manual_seed(0)
    return torch.randn(3, 2048, generator=random), torch.randn(3, 3, 2048, generator=random)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def squared(one, other):
    return sum((a - b) ** 2 for a, b in zip(one.tolist(), other.tolist(), strict=True))


@torch.no_grad()
def test_ibr_is_the_likelihood_of_shifted_distances(batch):
    torch.manual_seed(0)
    model = ImageBasedRecommendation(2048, rank=10)
    transform, shift = model.scene_encoder.weight, float(model.shift)
    positive, negative = [], []
    for scene, products in zip(*batch, strict=True):
        distances = [squared(transform @ scene, transform @ product) for product in products]
        positive.append(math.log(sigmoid(shift - distances[0])))
        negative += [math.log(1 - sigmoid(shift - distance)) for distance in distances[1:]]
    slow = -(np.mean(positive) + np.mean(negative)) / 2
    assert float(model.loss(*batch)) == pytest.approx(slow, rel=1e-4)


@torch.no_grad()
def test_siamese_nets_pull_positives_and_push_negatives_out_to_the_margin(batch):
    torch.manual_seed(0)
    model = SiameseNets(2048, margin=1.5).eval()
    positive, negative = [], []
    for scene, products in zip(*batch, strict=True):
        code = model.scene_encoder(scene[None])[0]
        distances = [math.sqrt(squared(code, model.scene_encoder(p[None])[0])) for p in products]
        positive.append(distances[0] ** 2)
        negative += [max(0.0, 1.5 - distance) ** 2 for distance in distances[1:]]
    slow = (np.mean(positive) + np.mean(negative)) / 2
    assert min(negative) > 0
    assert float(model.loss(*batch)) == pytest.approx(slow, rel=1e-4)


def test_siamese_nets_see_scenes_and_products_in_one_batch(batch):
    model = SiameseNets(2048, margin=1.0)
    model.loss(*batch)
    assert model.scene_encoder.state_dict()["layers.1.num_batches_tracked"] == 1


@torch.no_grad()
def test_bpr_dae_ranks_by_inner_products_and_reconstructs_both_sides(batch):
    torch.manual_seed(0)
    model = DualAutoencoder(2048, reconstruction_weight=0.3)
    ranking, scene_errors, product_errors = [], [], []
    for scene, products in zip(*batch, strict=True):
        code = model.scene_encoder(scene)
        codes = [model.product_encoder(product) for product in products]
        fits = [sum(a * b for a, b in zip(code.tolist(), c.tolist(), strict=True)) for c in codes]
        ranking += [-math.log(sigmoid(fits[0] - fit)) for fit in fits[1:]]
        scene_errors.append(squared(model.scene_decoder(code), scene) / 2048)
        for c, product in zip(codes, products, strict=True):
            product_errors.append(squared(model.product_decoder(c), product) / 2048)
    slow = np.mean(ranking) + 0.3 * (np.mean(scene_errors) + np.mean(product_errors))
    assert float(model.loss(*batch)) == pytest.approx(slow, rel=1e-4)


@pytest.mark.parametrize("make", CHOICES)
def test_it_learns_what_was_planted(make, splits):
    train, validation, test = splits
    model, accuracy = train_baseline(make, train, validation, TrainingConfig(epochs=4))
    assert pairwise_accuracy(score_pairs(test, baseline_distances(model, test))) > 0.75
    assert pairwise_accuracy(score_pairs(test, raw_distances(test))) < 0.5
    again = pairwise_accuracy(score_pairs(validation, baseline_distances(model, validation)))
    assert again == accuracy


def test_the_best_epoch_is_kept(splits, monkeypatch):
    train, validation, _ = splits
    accuracies = iter([0.6, 0.9, 0.7])
    seen = []

    def measured(scores):
        seen.append(scores)
        return next(accuracies)

    monkeypatch.setattr(baselines, "pairwise_accuracy", measured)
    make = partial(ImageBasedRecommendation, rank=10)
    model, accuracy = train_baseline(make, train, validation, TrainingConfig(epochs=3))
    scores = score_pairs(validation, baseline_distances(model, validation))
    assert accuracy == 0.9
    assert [s.positive for s in scores] == [s.positive for s in seen[1]]
    assert [s.positive for s in scores] != [s.positive for s in seen[2]]


@pytest.mark.parametrize("make", CHOICES)
def test_distances_are_the_models_one_by_one(make, splits):
    _, _, test = splits
    torch.manual_seed(0)
    model = make(2048).eval()
    index, rows = 3, candidate_rows(test)[[4, 0, 2]]
    fast = baseline_distances(model, test)(index, rows)
    scene = model.standardise(test.features.scenes.pooled(test.scene_rows[[index]]))
    products = model.standardise(test.features.products.pooled(rows))
    with torch.no_grad():
        slow = [float(model.distances(*model.encode(scene, p[None, None]))) for p in products]
    assert fast == pytest.approx(slow, abs=1e-4)


def test_the_choice_of_the_best_validation_accuracy_wins(splits, monkeypatch):
    accuracies = {("a", 1e-3): 0.6, ("a", 1e-4): 0.5, ("b", 1e-3): 0.7, ("b", 1e-4): 0.8}

    def trained(make, _train, _validation, config):
        return make, accuracies[make, config.learning_rate]

    monkeypatch.setitem(baselines.CHOICES, "ibr", [("rank a", "a"), ("rank b", "b")])
    monkeypatch.setattr(baselines, "train_baseline", trained)
    fitted = fit_baseline("ibr", splits[0], splits[1], TrainingConfig())
    assert fitted.choice == "rank b, learning rate 0.0001"
    assert str(fitted.model) == "b"


def test_popularity_counts_training_pairs_alone(splits):
    train, _, test = splits
    rows = candidate_rows(test)
    slow = [-sum(1 for row in train.product_rows if row == wanted) for wanted in rows]
    assert popularity_distances(train)(0, rows).tolist() == slow
    assert popularity_distances(train)(0, np.array([10_000])).tolist() == [0]


def test_raw_features_are_compared_by_cosine(splits):
    _, _, test = splits
    rows = candidate_rows(test)[[3, 1]]
    scene = test.features.scenes.pooled(test.scene_rows[[2]])[0].double().numpy()
    slow = []
    for product in test.features.products.pooled(rows).double().numpy():
        cosine = scene @ product / np.linalg.norm(scene) / np.linalg.norm(product)
        slow.append(1 - cosine)
    assert raw_distances(test)(2, rows) == pytest.approx(slow, abs=1e-5)


def test_chance_is_drawn_once_for_a_pair_and_product(splits):
    _, _, test = splits
    rows = candidate_rows(test)
    one = chance_distances(test, 0)
    assert len(set(one(0, rows).tolist())) == len(rows)
    assert one(0, rows[::-1]).tolist() == one(0, rows)[::-1].tolist()
    assert one(0, rows).tolist() != one(1, rows).tolist()
    assert one(0, rows).tolist() != chance_distances(test, 1)(0, rows).tolist()
