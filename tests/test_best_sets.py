"""The best sets, against a look at every set there is."""

from itertools import product

import numpy as np
import pytest
from completelook.ranking import best_sets as module
from completelook.ranking.best_sets import Slot, best_sets
from hypothesis import example, given, settings
from hypothesis import strategies as st


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def random_slots(seed: int, sizes, *, closeness: float = 1.0, dimensions: int = 8) -> list[Slot]:
    """Candidates about one style, the closer the harder to tell apart."""
    generator = np.random.default_rng(seed)
    style = unit(generator.normal(size=dimensions))
    slots = []
    for size in sizes:
        noise = generator.normal(size=(size, dimensions)) / np.sqrt(dimensions)
        embeddings = unit(closeness * style + noise).astype(np.float32)
        query = style + unit(style + generator.normal(size=dimensions) / np.sqrt(dimensions))
        prices = generator.integers(5, 300, size).astype(float)
        slots.append(Slot(2 - embeddings.astype(float) @ query, embeddings, prices))
    return slots


def score_by_loops(slots, places, coherence: float) -> float:
    chosen = list(zip(slots, places, strict=True))
    distances = [float(slot.distances[place]) for slot, place in chosen]
    pairs = []
    for one, (left, at) in enumerate(chosen):
        for right, other in chosen[one + 1 :]:
            pairs.append(
                sum(
                    (float(a) - float(b)) ** 2
                    for a, b in zip(left.embeddings[at], right.embeddings[other], strict=True)
                )
            )
    mean = sum(distances) / len(distances)
    return mean if not pairs else (1 - coherence) * mean + coherence * sum(pairs) / len(pairs)


def by_enumeration(slots, coherence, budget, count) -> list[float]:
    scores = [
        score_by_loops(slots, places, coherence)
        for places in product(*(range(len(slot.distances)) for slot in slots))
        if budget is None
        or sum(slot.prices[place] for slot, place in zip(slots, places, strict=True)) <= budget
    ]
    return sorted(scores)[:count]


@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    closeness=st.sampled_from([0.0, 1.0, 3.0]),
    coherence=st.sampled_from([0.0, 0.25, 0.6, 1.0]),
    share=st.none() | st.floats(0.0, 1.2),
    count=st.integers(1, 4),
)
@settings(max_examples=80)
def test_the_sets_found_are_the_best_there_are_and_it_is_proved(
    seed, sizes, closeness, coherence, share, count
) -> None:
    slots = random_slots(seed, sizes, closeness=closeness)
    dearest = sum(slot.prices.max() for slot in slots)
    budget = None if share is None else round(dearest * share)
    found = best_sets(slots, coherence=coherence, budget=budget, count=count)
    expected = by_enumeration(slots, coherence, budget, count)
    assert [each.score for each in found] == pytest.approx(expected, abs=1e-5)
    assert len({each.places for each in found}) == len(found)
    for each in found:
        assert each.score == pytest.approx(score_by_loops(slots, each.places, coherence), abs=1e-5)
        assert each.bound <= each.score
        assert each.bound == pytest.approx(each.score, abs=2e-5)
        if budget is not None:
            price = sum(s.prices[at] for s, at in zip(slots, each.places, strict=True))
            assert price <= budget + 1e-4


@given(seed=st.integers(0, 10**6), coherence=st.sampled_from([0.25, 0.6]))
@example(643, 0.6)
@settings(max_examples=15)
def test_what_is_left_out_for_want_of_room_still_counts_for_the_bound(seed, coherence) -> None:
    slots = random_slots(seed, [6, 6, 6])
    best = by_enumeration(slots, coherence, None, 1)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_COMPARED", 3)
        patch.setattr(module, "_MOST_PAIRS", 3)
        [found] = best_sets(slots, coherence=coherence)
    assert found.bound - 1e-5 <= best <= found.score + 1e-5


def test_what_lies_beyond_the_candidates_counts_for_the_bound() -> None:
    slots = random_slots(0, [4, 4])
    near = [slot.distances.min() for slot in slots]
    cut = [Slot(s.distances, s.embeddings, s.prices, beyond=s.distances.min()) for s in slots]
    [whole], [found] = best_sets(slots, coherence=0.5), best_sets(cut, coherence=0.5)
    assert found.places == whole.places
    assert found.bound == pytest.approx(sum(near) / 4)


def test_sets_of_hundreds_of_candidates_are_proved_too() -> None:
    slots = random_slots(1, [400] * 5, dimensions=128)
    found = best_sets(slots, coherence=0.25, budget=500, count=2)
    assert len(found) == 2
    for each in found:
        assert each.score - each.bound < 1e-4
        for slot in range(5):  # No swap of one product that the budget allows is better.
            others = sum(
                s.prices[at]
                for k, (s, at) in enumerate(zip(slots, each.places, strict=True))
                if k != slot
            )
            for place in np.flatnonzero(slots[slot].prices <= 500 - others):
                swapped = (*each.places[:slot], int(place), *each.places[slot + 1 :])
                assert score_by_loops(slots, swapped, 0.25) >= found[0].score - 1e-5


def test_a_budget_below_the_cheapest_set_finds_none() -> None:
    slots = random_slots(0, [3, 3])
    cheapest = sum(slot.prices.min() for slot in slots)
    assert best_sets(slots, coherence=0.5, budget=cheapest - 1) == []
    assert len(best_sets(slots, coherence=0.5, budget=cheapest)) == 1
