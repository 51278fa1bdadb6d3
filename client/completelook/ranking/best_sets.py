"""The best sets: one candidate a slot, so that all of them together fit best; proved.

Of n slots, a set with distances d_k to the scene and embeddings f_k scores

    (1 - c) mean_k d_k  +  c mean_{k<l} ||f_k - f_l||^2          smaller is better, in [0, 4]

with the coherence c. That is a quadratic semi-assignment problem: a sum over pairs of slots. A set
found by descent bounds the score from above, and for every candidate the sum of the least pairs
bounds the score of any set with it from below: what cannot be in a set that is good enough is left
out, and the rest goes to a mixed-integer solver, HiGHS, with each product of two choices as a
variable of its own (Adams and Sherali's linearisation of level 1, Management Science 32, 1986).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from completelook.errors import UsageError
from completelook.ranking.pair_bounds import PairBounds

# More candidates of a slot are not compared pair by pair, nor more pairs given to the solver; what
# that leaves out still counts for the bound.
_MOST_COMPARED = 1500
_MOST_PAIRS = 4000
_MOST_SWEEPS = 40
_TOLERANCE = 1e-5  # far above the rounding of float32, far below any difference that matters
_TIME_LIMIT_S = 5.0


@dataclass(frozen=True, eq=False)
class Slot:
    """The n candidates for one place of a set."""

    distances: NDArray[np.float64]  # [n], to the scene
    embeddings: NDArray[np.float32]  # [n, 128], unit vectors
    prices: NDArray[np.float64]  # [n], zeros where they do not matter
    beyond: float = np.inf  # what is no candidate, though it might be, is at least so far


@dataclass(frozen=True)
class FoundSet:
    """A set: the place of its candidate in each slot."""

    places: tuple[int, ...]
    score: float
    bound: float  # no set but those found before it scores less than this


def best_sets(
    slots: Sequence[Slot], *, coherence: float, budget: float | None = None, count: int = 1
) -> list[FoundSet]:
    """The `count` best sets whose prices sum to at most a budget, best first; fewer if no more are.

    None at all where even the cheapest costs more.
    """
    problem = _Problem(slots, coherence, np.inf if budget is None else budget)
    cheapest = [int(np.argmin(slot.prices)) for slot in slots]
    if problem.price(cheapest) > problem.budget:
        return []
    kept, floor = problem.candidates(cheapest, count)
    found: list[FoundSet] = []
    for chosen, bound in problem.at(kept).solutions(count):
        places = tuple(int(rows[place]) for rows, place in zip(kept, chosen, strict=True))
        score = problem.score(places)
        found.append(FoundSet(places, score, min(score, bound, floor)))
    return found


class _Problem:
    """Slots with weights: `alone` of each distance, `paired` of each squared distance of a pair."""

    def __init__(self, slots: Sequence[Slot], coherence: float, budget: float) -> None:
        self.slots = slots
        self.coherence = coherence
        self.budget = budget
        self.pairs = list(combinations(range(len(slots)), 2))
        self.alone = (1 - coherence if self.pairs else 1.0) / len(slots)
        self.paired = coherence / len(self.pairs) if self.pairs else 0.0

    def at(self, kept: Sequence[NDArray[np.intp]]) -> "_Problem":
        """The same with some of the candidates."""
        slots = [
            Slot(slot.distances[rows], slot.embeddings[rows], slot.prices[rows])
            for slot, rows in zip(self.slots, kept, strict=True)
        ]
        return _Problem(slots, self.coherence, self.budget)

    def score(self, places: Sequence[int]) -> float:
        """The score of a set."""
        rows = [slot.embeddings[place] for slot, place in zip(self.slots, places, strict=True)]
        vectors = np.stack(rows).astype(np.float64)  # [slots, 128]
        near = vectors @ vectors.T
        pairs = sum(2 - 2 * near[one, other] for one, other in self.pairs)
        distances = (slot.distances[place] for slot, place in zip(self.slots, places, strict=True))
        return float(self.alone * sum(distances) + self.paired * pairs)

    def price(self, places: Sequence[int]) -> float:
        """What a set costs."""
        return float(sum(slot.prices[at] for slot, at in zip(self.slots, places, strict=True)))

    def candidates(self, start: Sequence[int], count: int) -> tuple[list[NDArray[np.intp]], float]:
        """Those that may be in one of the `count` best sets, by their places in each slot.

        And below what no set scores that has a product left out for want of room. The start is a
        set within the budget.
        """
        weight = self._price_weight()
        known = _Known(count)
        for factor in (0, 1, 2, 4, 8):
            self._note(known, self._descended(start, weight * factor), start)
        floor = min(self._alone_bound(slot, each.beyond) for slot, each in enumerate(self.slots))
        kept = [np.arange(len(slot.distances)) for slot in self.slots]
        left = self.budget - sum(slot.prices.min() for slot in self.slots) + _TOLERANCE
        bounds = [
            np.where(slot.prices - slot.prices.min() <= left, np.maximum(*each), np.inf)
            for slot, *each in zip(self.slots, self._bounds(0.0), self._bounds(weight), strict=True)
        ]
        kept, floor = _narrowed(kept, bounds, known, _MOST_COMPARED, floor)
        if not self.pairs:
            return kept, floor
        pairs = self.at(kept).pair_bounds(weight)
        before = -np.inf
        for sweep in range(_MOST_SWEEPS):
            bounds = pairs.sweep()
            decoded = [int(rows[np.argmin(each)]) for rows, each in zip(kept, bounds, strict=True)]
            self._note(known, decoded, start)
            fitting = [each <= known.enough + _TOLERANCE for each in bounds]
            if not all(fits.any() for fits in fitting):
                break  # nothing that is left is as good as what a descent has met outside of it
            kept = [rows[fits] for rows, fits in zip(kept, fitting, strict=True)]
            bounds = [each[fits] for each, fits in zip(bounds, fitting, strict=True)]
            pairs.keep(fitting)
            if pairs.bound < before + _TOLERANCE and all(fits.all() for fits in fitting):
                break
            before = pairs.bound
            # Where the budget binds, its weight is sought along with the shares.
            if np.isfinite(self.budget):
                step = 0.3 * pairs.weight / (1 + sweep)
                pairs.weigh(step if self.price(decoded) > self.budget else -step)
        room = max(count, int((_MOST_PAIRS / len(self.pairs)) ** 0.5))
        return _narrowed(kept, bounds, known, room, floor)

    def _note(self, known: "_Known", places: Sequence[int], start: Sequence[int]) -> None:
        """Keep what a descent from a set finds, or from the start if it costs too much."""
        within = self.price(places) <= self.budget + _TOLERANCE
        best = self._descended(places if within else start)
        known.add(best, self.score(best))
        for slot in range(len(self.slots)):
            costs = self._swap_costs(best, slot)
            for place in np.argsort(costs, kind="stable")[: known.count]:
                if np.isfinite(costs[place]):
                    swapped = (*best[:slot], int(place), *best[slot + 1 :])
                    known.add(swapped, self.score(swapped))

    def solutions(self, count: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """The best sets, each with what the solver has proved that no other scores less than."""
        # Half a second to import, and needed for nothing else.
        try:
            from scipy import optimize, sparse
        except ModuleNotFoundError as error:
            raise UsageError(
                "completing a look needs SciPy: pip install 'completelook[look]'"
            ) from error

        costs, rows, low, high = self._program()
        chosen_at = np.cumsum([0, *(len(slot.distances) for slot in self.slots)])
        for _ in range(count):
            answer = optimize.milp(
                costs,
                integrality=np.arange(len(costs)) < chosen_at[-1],
                bounds=optimize.Bounds(0, 1),
                constraints=optimize.LinearConstraint(sparse.csr_array(rows), low, high),
                options={"mip_rel_gap": 0.0, "time_limit": _TIME_LIMIT_S},
            )
            if answer.x is None:
                return
            parts = [answer.x[start:stop] for start, stop in pairwise(chosen_at)]
            places = tuple(int(np.argmax(part)) for part in parts)
            yield places, float(answer.mip_dual_bound)
            # The same set again is no good: all but one of its choices at most.
            again = np.zeros((1, len(costs)))
            again[0, [start + place for start, place in zip(chosen_at, places, strict=False)]] = 1
            rows = sparse.vstack([rows, sparse.csr_array(again)])
            low, high = np.append(low, -np.inf), np.append(high, len(places) - 1.0)

    def _program(self) -> tuple[NDArray[np.float64], Any, NDArray[Any], NDArray[Any]]:
        """Costs, and rows with their bounds, of the choices x and for each pair of slots y = x x'.

        The y of a choice sum to it over each other slot.
        """
        from scipy import sparse

        sizes = [len(slot.distances) for slot in self.slots]
        starts = np.cumsum([0, *sizes])
        total = int(starts[-1] + sum(sizes[one] * sizes[other] for one, other in self.pairs))
        costs = [self.alone * np.concatenate([slot.distances for slot in self.slots])]
        one_each = sparse.block_diag([np.ones((1, size)) for size in sizes])
        blocks = [_placed(one_each, 0, total)]
        at = int(starts[-1])
        for one, other in self.pairs:
            costs.append(self.paired * self.squared(one, other).reshape(-1))
            left = sparse.kron(sparse.eye_array(sizes[one]), np.ones((1, sizes[other])))
            right = sparse.kron(np.ones((1, sizes[one])), sparse.eye_array(sizes[other]))
            for sums, slot in ((left, one), (right, other)):
                choices = _placed(sparse.eye_array(sizes[slot]), int(starts[slot]), total)
                blocks.append(_placed(sums, at, total) - choices)
            at += sizes[one] * sizes[other]
        equal = sum(block.shape[0] for block in blocks)
        low = np.concatenate([np.ones(len(sizes)), np.zeros(equal - len(sizes))])
        high = low
        if np.isfinite(self.budget):
            prices = np.concatenate([slot.prices for slot in self.slots])
            blocks.append(_placed(sparse.csr_array(prices[np.newaxis]), 0, total))
            low, high = np.append(low, -np.inf), np.append(high, self.budget + _TOLERANCE)
        return np.concatenate(costs), sparse.vstack(blocks), low, high

    def pair_bounds(self, price_weight: float) -> PairBounds:
        """What bounds its candidates by pairs."""
        return PairBounds(
            [self.alone * slot.distances for slot in self.slots],
            {pair: (self.paired * self.squared(*pair)).astype(np.float32) for pair in self.pairs},
            [slot.prices for slot in self.slots],
            budget=self.budget,
            weight=price_weight,
        )

    def squared(self, one: int, other: int) -> NDArray[np.float64]:
        """The squared distances between the candidates of two slots, [n, m]."""
        left, right = self.slots[one].embeddings, self.slots[other].embeddings
        return np.asarray(2 - 2 * (left.astype(np.float64) @ right.astype(np.float64).T))

    def _swap_costs(
        self, places: Sequence[int], slot: int, price_weight: float | None = None
    ) -> NDArray[np.float64]:
        """What each candidate of a slot adds to the others of a set, [n].

        Its price counts with a weight, or else must fit into the budget.
        """
        own = self.slots[slot]
        others = [each for each in range(len(self.slots)) if each != slot]
        near = sum(
            (self.slots[each].embeddings[places[each]] for each in others), np.zeros(1, np.float32)
        )
        costs = self.alone * own.distances
        if others:
            costs = costs + self.paired * (2 * len(others) - 2.0 * (own.embeddings @ near))
        if price_weight is not None:
            return np.asarray(costs + price_weight * own.prices)
        left = self.budget - sum(self.slots[each].prices[places[each]] for each in others)
        return np.where(own.prices <= left + _TOLERANCE, costs, np.inf)

    def _descended(self, start: Sequence[int], price_weight: float | None = None) -> list[int]:
        """A set that no swap of one candidate makes better."""
        places = list(start)
        for _ in range(20):
            before = list(places)
            for slot in range(len(places)):
                costs = self._swap_costs(places, slot, price_weight)
                if (best := int(np.argmin(costs))) != places[slot]:
                    places[slot] = best if costs[best] < costs[places[slot]] else places[slot]
            if places == before:
                break
        return places

    def _price_weight(self) -> float:
        """How much a unit of price must count for the best distances to keep to the budget.

        It makes the Lagrangian bound without pairs the largest; zero where the budget is no matter.
        """

        def spent(weight: float) -> float:
            costs = (self.alone * slot.distances + weight * slot.prices for slot in self.slots)
            return self.price([int(np.argmin(cost)) for cost in costs])

        low = high = 0.0
        if spent(0.0) > self.budget:
            high = max(self.alone, self.paired) / max(self.budget, 1.0)
            while spent(high) > self.budget and high < 1e9:
                low, high = high, 4 * high
            for _ in range(30):
                middle = (low + high) / 2
                low, high = (middle, high) if spent(middle) > self.budget else (low, middle)
        return high

    def _bounds(self, price_weight: float) -> list[NDArray[np.float64]]:
        """What no set in the budget with a candidate scores less than, by slot; pairs left out."""
        costs = [self.alone * slot.distances + price_weight * slot.prices for slot in self.slots]
        least = [float(cost.min()) for cost in costs]
        off = price_weight * self.budget if price_weight else 0.0
        return [cost + sum(least) - own - off for cost, own in zip(costs, least, strict=True)]

    def _alone_bound(self, slot: int, distance: float) -> float:
        """The same of a candidate at a distance, whatever it costs."""
        if distance == np.inf:
            return np.inf
        others = (each.distances.min() for at, each in enumerate(self.slots) if at != slot)
        return float(self.alone * (distance + sum(others)))


class _Known:
    """The scores of the best sets met so far."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._scores: dict[tuple[int, ...], float] = {}

    @property
    def enough(self) -> float:
        """What one of the `count` best sets scores at most."""
        return max(self._scores.values()) if len(self._scores) == self.count else np.inf

    def places(self, slot: int) -> list[int]:
        """Which candidates of a slot they hold."""
        return [places[slot] for places in self._scores]

    def add(self, places: Sequence[int], score: float) -> None:
        """Keep a set, if it is one of the best."""
        if score < self.enough:
            self._scores[tuple(places)] = score
            if len(self._scores) > self.count:
                del self._scores[max(self._scores, key=self._scores.__getitem__)]


def _narrowed(
    kept: Sequence[NDArray[np.intp]],
    bounds: Sequence[NDArray[np.float64]],
    known: _Known,
    most: int,
    floor: float,
) -> tuple[list[NDArray[np.intp]], float]:
    """Of each slot the candidates whose bound is good enough, the best of them if they are many.

    What the best sets met so far are made of is always among them. And the floor, below which
    none of those cut off for that is.
    """
    narrowed = []
    for slot, (rows, bound) in enumerate(zip(kept, bounds, strict=True)):
        fits = bound <= known.enough + _TOLERANCE
        met = np.setdiff1d(np.array(known.places(slot), np.intp), rows[fits])
        rows = np.concatenate([rows[fits], met])
        bound = np.concatenate([bound[fits], np.full(len(met), -np.inf)])
        order = np.lexsort((bound, ~np.isin(rows, known.places(slot))))
        floor = min(floor, float(bound[order[most:]].min(initial=np.inf)))
        narrowed.append(rows[np.sort(order[:most])])
    return narrowed, floor


def _placed(block: Any, column: int, total: int) -> Any:
    """A block of rows at a column among all of them."""
    from scipy import sparse

    rows, size = block.shape
    parts = [
        sparse.csr_array((rows, column)),
        block,
        sparse.csr_array((rows, total - column - size)),
    ]
    return sparse.hstack(parts, format="csr")
