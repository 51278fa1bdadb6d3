"""Metrics and their intervals against loops, literal resampling and scikit-learn."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from completelook_build.evaluation.metrics import (
    PAIR_METRICS,
    estimate_metrics,
    paired_difference,
    places,
    scene_weights,
)
from completelook_build.heads import PairScore, pairwise_accuracy
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

# Few values, so that ties are common; exact in FP32.
distances = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0])
pairs = st.builds(
    lambda scene, positive, negatives: score(scene, positive, negatives),
    st.sampled_from("abcd"),
    distances,
    st.lists(distances, min_size=1, max_size=6),
)


def score(scene, positive, negatives):
    return PairScore(scene, 0, positive, np.array(negatives, dtype=np.float32))


def random_scores(random, scenes=12):
    return [
        score(f"s{scene}", random.integers(8) / 4, random.integers(10, size=count) / 4)
        for scene in range(scenes)
        for count in random.integers(1, 9, size=random.integers(1, 4))
    ]


def ranks(one):
    """Every rank that the true product can take among its ties."""
    closer = sum(1 for d in one.negatives if d < one.positive)
    tied = sum(1 for d in one.negatives if d == one.positive)
    return [closer + 1 + before for before in range(tied + 1)]


def slow_blank(one):
    """Every draw of three negatives, ties split evenly; nothing with fewer."""
    won = []
    for drawn in combinations(one.negatives, 3):
        tied = sum(1 for d in drawn if d == one.positive)
        won.append(1 / (1 + tied) if min(drawn) >= one.positive else 0.0)
    return mean(won)


def slow_pairwise(one):
    won = [1.0 if d > one.positive else 0.5 if d == one.positive else 0.0 for d in one.negatives]
    return mean(won)


SLOW = {
    "pairwise_accuracy": slow_pairwise,
    "top_1_accuracy": lambda one: mean([rank <= 1 for rank in ranks(one)]),
    "top_5_accuracy": lambda one: mean([rank <= 5 for rank in ranks(one)]),
    "top_10_accuracy": lambda one: mean([rank <= 10 for rank in ranks(one)]),
    "top_20_accuracy": lambda one: mean([rank <= 20 for rank in ranks(one)]),
    "mean_reciprocal_rank": lambda one: mean([1 / rank for rank in ranks(one)]),
    "fill_in_the_blank": slow_blank,
}


def mean(values):
    return sum(values) / len(values) if values else math.nan


def slow_metric(name, scores):
    values = [SLOW[name](one) for one in scores]
    return mean([value for value in values if not math.isnan(value)])


def slow_auc(scores):
    positives = [one.positive for one in scores]
    negatives = [float(d) for one in scores for d in one.negatives]
    return mean([1.0 if d > p else 0.5 if d == p else 0.0 for p in positives for d in negatives])


@given(pairs)
def test_each_pairs_figures_are_the_loops(one):
    assert SLOW.keys() == PAIR_METRICS.keys()
    for name, metric in PAIR_METRICS.items():
        assert metric(places([one])) == pytest.approx([SLOW[name](one)], nan_ok=True), name


def test_a_rank_among_ties_is_drawn_by_lot():
    tied = score("s", 1.0, [0.5, 1.0, 1.0, 2.0])
    orders = permutations([(0.5, 0), (1.0, 0), (1.0, 0), (2.0, 0), (1.0, 1)])
    found = [sorted(order, key=lambda item: item[0]).index((1.0, 1)) + 1 for order in orders]
    figures = estimate_metrics([tied], resamples=1)
    expected = mean([1 / rank for rank in found])
    assert figures["mean_reciprocal_rank"].value == pytest.approx(expected)


@given(st.lists(pairs, min_size=1, max_size=8))
def test_figures_are_means_over_pairs_and_the_auc_is_pooled(scores):
    figures = estimate_metrics(scores, resamples=2)
    for name in SLOW:
        assert figures[name].value == pytest.approx(slow_metric(name, scores), nan_ok=True), name
    assert figures["roc_auc"].value == pytest.approx(slow_auc(scores))
    assert figures["pairwise_accuracy"].value == pytest.approx(pairwise_accuracy(scores))


def test_the_auc_is_scikit_learns():
    scores = random_scores(np.random.default_rng(0), scenes=600)  # more than one block
    closeness = [-d for one in scores for d in (one.positive, *one.negatives)]
    truth = [flag for one in scores for flag in (1, *np.zeros(len(one.negatives), dtype=int))]
    found = estimate_metrics(scores, resamples=2)["roc_auc"]
    assert found.value == pytest.approx(roc_auc_score(truth, closeness), abs=1e-12)


def test_intervals_are_those_of_literally_resampled_scenes():
    scores = random_scores(np.random.default_rng(1))
    scenes = sorted({one.scene for one in scores})
    resampled = [
        [one for scene, times in zip(scenes, row, strict=True) for one in scores * int(times)
         if one.scene == scene]
        for row in scene_weights(len(scenes), 60, seed=3)[1:]
    ]  # fmt: skip
    figures = estimate_metrics(scores, resamples=60, seed=3)
    slow = {"roc_auc": [slow_auc(own) for own in resampled]}
    slow |= {name: [slow_metric(name, own) for own in resampled] for name in SLOW}
    assert figures.keys() == slow.keys()
    for name, values in slow.items():
        low, high = np.nanquantile(values, [0.025, 0.975])
        assert (figures[name].low, figures[name].high) == pytest.approx((low, high)), name


def test_scenes_are_drawn_with_replacement_by_the_seed():
    weights = scene_weights(50, 400, seed=1)
    assert weights.shape == (401, 50)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 50).all()
    # Each scene is drawn from a binomial: mean 1, variance 1 - 1/50.
    assert weights[1:].var() == pytest.approx(0.98, abs=0.05)
    assert (weights == scene_weights(50, 400, seed=1)).all()
    assert (weights != scene_weights(50, 400, seed=2)).any()


def test_pairs_that_repeat_within_their_scenes_do_not_narrow_the_interval():
    scores = random_scores(np.random.default_rng(2))
    once, often = (estimate_metrics(scores * times) for times in (1, 4))
    for name, figure in once.items():
        assert (often[name].low, often[name].high) == pytest.approx((figure.low, figure.high))


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(4)
    held = 0
    for _ in range(200):
        # A scene's pairs share its luck: an interval over pairs would be too narrow.
        luck = np.repeat(random.random(40) < 0.7, 3)
        drawn = [score(f"s{n // 3}", 0.0 if won else 2.0, [1.0]) for n, won in enumerate(luck)]
        figure = estimate_metrics(drawn, resamples=200)["pairwise_accuracy"]
        held += figure.low <= 0.7 <= figure.high
    assert 0.88 <= held / 200 <= 0.99


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(3, 40)), min_size=2, max_size=6))
def test_a_perfect_ranker_a_reversed_one_and_one_that_ties_score_as_they_must(shapes):
    perfect = [score(scene, 0.0, [1.0] * count) for scene, count in shapes]
    assert all(
        (figure.value, figure.low, figure.high) == pytest.approx((1.0,) * 3, nan_ok=True)
        or len({scene for scene, _ in shapes}) == 1
        for figure in estimate_metrics(perfect, resamples=20).values()
    )
    worst = estimate_metrics([score(scene, 2.0, [1.0] * count) for scene, count in shapes])
    for name in ("pairwise_accuracy", "roc_auc", "top_1_accuracy", "fill_in_the_blank"):
        assert worst[name].value == pytest.approx(0.0)
    tied = estimate_metrics([score(scene, 1.0, [1.0] * count) for scene, count in shapes])
    for name in ("pairwise_accuracy", "roc_auc"):
        assert tied[name].value == pytest.approx(0.5)
    assert tied["fill_in_the_blank"].value == pytest.approx(0.25)
    for top in (1, 5, 10, 20):
        chance = mean([min(top / (count + 1), 1.0) for _, count in shapes])
        assert tied[f"top_{top}_accuracy"].value == pytest.approx(chance)


def test_what_no_pair_defines_is_not_a_number():
    figures = estimate_metrics([score("a", 0.0, [1.0, 2.0]), score("b", 0.0, [1.0])])
    assert math.isnan(figures["fill_in_the_blank"].value)
    assert math.isnan(figures["fill_in_the_blank"].low)
    assert figures["pairwise_accuracy"].value == 1.0


def test_one_scene_has_no_interval():
    figures = estimate_metrics([score("a", 0.0, [1.0]), score("a", 2.0, [1.0])])
    assert figures["pairwise_accuracy"].value == 0.5
    assert all(math.isnan(figure.low) and math.isnan(figure.high) for figure in figures.values())


def test_a_paired_difference_is_the_mean_of_differences_and_resamples_scenes():
    random = np.random.default_rng(3)
    first, second = random.random(30), random.random(30)
    scenes = [f"s{random.integers(8)}" for _ in range(30)]
    found = paired_difference(first, second, scenes, resamples=50, seed=1)
    names = sorted(set(scenes))
    means = []
    for weights in scene_weights(len(names), 50, 1):
        total = count = 0.0
        for one, other, scene in zip(first, second, scenes, strict=True):
            weight = weights[names.index(scene)]
            total += weight * (one - other)
            count += weight
        means.append(total / count)
    assert found.value == pytest.approx(means[0])
    assert found.low == pytest.approx(np.quantile(means[1:], 0.025))
    assert found.high == pytest.approx(np.quantile(means[1:], 0.975))


def test_what_all_pairs_share_drops_out_of_a_paired_difference():
    random = np.random.default_rng(4)
    hard_and_easy = random.random(40)
    scenes = [f"s{number // 2}" for number in range(40)]
    better = paired_difference(hard_and_easy + 0.1, hard_and_easy, scenes)
    assert (better.low, better.high) == pytest.approx((0.1, 0.1))
