"""Metrics of ranked pairs, with confidence intervals that resample scenes.

The pairs of a scene share its picture, so they are no independent draws: the bootstrap draws whole
scenes with replacement (a cluster bootstrap) and takes percentiles. A resample is a weight per
scene, so that nothing is ranked anew. Every metric treats equal distances as if their order were
drawn by lot, and gives the expectation: a ranker that cannot tell products apart gains nothing.

Shapes: N pairs, S scenes, R resamples; row 0 of the weights is the scenes as they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from completelook_build.heads import PairScore

RESAMPLES = 1000
CONFIDENCE = 0.95
DISTRACTORS = 3  # four-way fill-in-the-blank: the true product and three more
_SCENES_AT_ONCE = 256

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A metric and its interval; NaN where no pair defines it, or fewer than two scenes."""

    value: float
    low: float
    high: float

    def in_one_line(self) -> str:
        """The figure and its interval, as Markdown shows them."""
        if math.isnan(self.value):
            return "-"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def in_two_lines(self) -> str:
        """The figure with its interval below, in the console's markup."""
        if math.isnan(self.value):
            return "-"
        if math.isnan(self.low):
            return f"{self.value:.3f}"
        low, high = (f"{end:.2f}".removeprefix("0") for end in (self.low, self.high))
        return f"{self.value:.3f}\n[dim]{low}-{high}[/]"

    def as_json(self) -> dict[str, float | None]:
        """The figure and its bounds; null where they are not defined, since JSON has no NaN."""
        return {name: None if math.isnan(bound) else bound for name, bound in asdict(self).items()}


@dataclass(frozen=True)
class Places:
    """Where the true product of each of N pairs stands among the negatives."""

    closer: Array  # negatives closer than it, [N]
    tied: Array  # negatives at its distance, [N]
    negatives: Array  # all negatives, [N]


def places(scores: Sequence[PairScore]) -> Places:
    """Count the negatives closer than each pair's product, and those that tie with it."""
    counts = [
        (
            np.count_nonzero(score.negatives < score.positive),
            np.count_nonzero(score.negatives == score.positive),
            len(score.negatives),
        )
        for score in scores
    ]
    return Places(*np.array(counts, dtype=np.float64).T)


def farther_share(places: Places) -> Array:
    """The share of negatives farther than the true product: binary accuracy (section 4.2)."""
    share: Array = 1.0 - (places.closer + places.tied / 2) / places.negatives
    return share


def within_top(places: Places, *, top: int) -> Array:
    """The chance that the true product is among the `top` nearest of its category."""
    chance: Array = np.clip((top - places.closer) / (places.tied + 1), 0.0, 1.0)
    return chance


def reciprocal_rank(places: Places) -> Array:
    """The mean of 1 / rank over the ranks that the true product can take among its ties."""
    last = places.closer + places.tied + 1
    ranks = np.arange(1, last.max() + 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / ranks)])  # harmonic[n] = 1 + 1/2 + ... + 1/n
    between = harmonic[last.astype(np.int64)] - harmonic[places.closer.astype(np.int64)]  # [N]
    reciprocal: Array = between / (places.tied + 1)
    return reciprocal


def blank_filled(places: Places) -> Array:
    """Four-way fill-in-the-blank: the chance that the true product beats three negatives.

    Exact over all draws of three, so no seed decides it. NaN for a pair with fewer negatives.
    Of a negatives that are not closer, t tie: the product stands before a - j of them, j = 0..t
    alike, and sum over j of C(a - j, 3) = C(a + 1, 4) - C(a - t, 4).
    """
    draws = _choose(places.negatives, DISTRACTORS) * (places.tied + 1)
    not_closer = places.negatives - places.closer
    won = _choose(not_closer + 1, DISTRACTORS + 1)
    won -= _choose(not_closer - places.tied, DISTRACTORS + 1)
    return np.divide(won, draws, out=np.full_like(won, np.nan), where=draws > 0)


PAIR_METRICS: Mapping[str, Callable[[Places], Array]] = {
    "pairwise_accuracy": farther_share,
    **{f"top_{top}_accuracy": partial(within_top, top=top) for top in (1, 5, 10, 20)},
    "mean_reciprocal_rank": reciprocal_rank,
    "fill_in_the_blank": blank_filled,
}


def estimate_metrics(
    scores: Sequence[PairScore], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Each of `PAIR_METRICS` averaged over pairs, and `roc_auc` of all distances pooled."""
    scenes, scene_of = np.unique([score.scene for score in scores], return_inverse=True)  # [N]
    weights = scene_weights(len(scenes), resamples, seed)  # [1 + R, S]
    found = places(scores)
    estimates = {
        name: with_interval(weighted_means(metric(found), scene_of, weights), len(scenes))
        for name, metric in PAIR_METRICS.items()
    }
    estimates["roc_auc"] = with_interval(_weighted_auc(scores, scene_of, weights), len(scenes))
    return estimates


def paired_difference(
    first: Array, second: Array, scenes: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """How much more one ranker has than another on the same pairs, on average; both are [N].

    What the pairs have in common drops out, so the interval is narrower than those of the two.
    """
    names, scene_of = np.unique(scenes, return_inverse=True)  # [N]
    weights = scene_weights(len(names), resamples, seed)  # [1 + R, S]
    return with_interval(weighted_means(first - second, scene_of, weights), len(names))


def scene_weights(scenes: int, resamples: int, seed: int) -> Array:
    """How often each scene is drawn: once each in row 0, then S draws a row, [1 + R, S]."""
    drawn = np.random.default_rng(seed).multinomial(
        scenes, np.full(scenes, 1.0 / scenes), size=resamples
    )
    return np.vstack([np.ones(scenes), drawn])


def weighted_means(values: Array, scene_of: NDArray[np.int64], weights: Array) -> Array:
    """The mean of the values [N] that are numbers, under each row of weights, [1 + R]."""
    known = ~np.isnan(values)
    scenes = weights.shape[1]
    sums = np.bincount(scene_of[known], values[known], minlength=scenes)  # [S]
    counts = np.bincount(scene_of[known], minlength=scenes)  # [S]
    return _ratio(weights @ sums, weights @ counts)


def _weighted_auc(
    scores: Sequence[PairScore], scene_of: NDArray[np.int64], weights: Array
) -> Array:
    """ROC AUC of all distances pooled, under each row of weights, [1 + R].

    A positive of scene s and a negative of scene t count weight s x weight t times, so that the
    wins are a quadratic form of the weights. Blocks of t bound the memory.
    """
    scenes = weights.shape[1]
    positives = np.array([score.positive for score in scores], dtype=np.float32)  # [N]
    negatives = _negatives_by_scene(scores, scene_of, scenes)
    wins = np.zeros(len(weights))
    for start in range(0, scenes, _SCENES_AT_ONCE):
        block = slice(start, start + _SCENES_AT_ONCE)
        columns = [_wins(positives, scene_of, own, scenes) for own in negatives[block]]
        wins += np.einsum("rt,rt->r", weights @ np.stack(columns, axis=1), weights[:, block])
    positive_counts = np.bincount(scene_of, minlength=scenes)  # [S]
    negative_counts = np.array([len(own) for own in negatives])  # [S]
    return _ratio(wins, (weights @ positive_counts) * (weights @ negative_counts))


def _negatives_by_scene(
    scores: Sequence[PairScore], scene_of: NDArray[np.int64], scenes: int
) -> list[NDArray[np.float32]]:
    """Each scene's negative distances over all of its pairs, sorted."""
    own: list[list[NDArray[np.float32]]] = [[] for _ in range(scenes)]
    for score, scene in zip(scores, scene_of, strict=True):
        own[scene].append(score.negatives)
    return [np.sort(np.concatenate(parts)) for parts in own]


def _wins(
    positives: NDArray[np.float32],
    scene_of: NDArray[np.int64],
    negatives: NDArray[np.float32],
    scenes: int,
) -> Array:
    """How many of some sorted negatives the positives of each scene beat, ties half, [S]."""
    closer = np.searchsorted(negatives, positives, side="left")  # [N]
    not_farther = np.searchsorted(negatives, positives, side="right")  # [N]
    won = len(negatives) - (closer + not_farther) / 2
    return np.bincount(scene_of, won, minlength=scenes).astype(np.float64)


def with_interval(values: Array, scenes: int) -> Estimate:
    """The value of row 0 and the percentiles of the resamples in which some pair defines it."""
    resampled = values[1:][~np.isnan(values[1:])]
    if scenes < 2 or not len(resampled):
        return Estimate(float(values[0]), np.nan, np.nan)
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1.0 - tail])
    return Estimate(float(values[0]), float(low), float(high))


def _ratio(numerators: Array, denominators: Array) -> Array:
    """Numerators over denominators, NaN where there is nothing to divide by."""
    nothing = np.full_like(numerators, np.nan)
    return np.divide(numerators, denominators, out=nothing, where=denominators > 0)


def _choose(total: Array, count: int) -> Array:
    """Binomial coefficients, 0 where the total is smaller than the count."""
    factors = [np.maximum(total - taken, 0.0) / (taken + 1) for taken in range(count)]
    chosen: Array = np.prod(factors, axis=0)
    return chosen
