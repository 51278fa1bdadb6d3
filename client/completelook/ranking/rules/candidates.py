"""Candidates: the products of a category that a scene has seen, and what is known of the others.

The store gives the nearest of all products, and the nearest of those that a rule lifts. Whatever
none of them has given is farther than the last of each, so a bound on where it could stand
follows, and what stands before that bound is settled: no look at every product is needed.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Hits, Survey
from completelook.ranking.calibration import Calibration
from completelook.ranking.match import Match, matched
from completelook.ranking.rules.binding import CategoryRules
from completelook.ranking.rules.rules import Action, Rule
from completelook.triton import SceneEmbedding

# Where a product stands: its place among the pins, whether it comes first by each rule in turn (0)
# or not (1), its distance by the factor of its boosts, its distance. Smaller is before.
Key: TypeAlias = tuple[float, ...]

# So many products are looked at to tell the rank of one, where a store cannot count them all.
FAR = 1000

# The store's nearest of all; those of a rule are called by the rule's number.
_ALL = -1


@dataclass(frozen=True, eq=False)
class Candidate:
    """A product that has been seen."""

    match: Match
    embedding: NDArray[np.float64]  # [128]
    about: tuple[bool, ...]  # by rule: whether it is among the rule's products


@dataclass(frozen=True)
class Bound:
    """What no unseen product can stand before, and whose looking further would move that."""

    key: Key
    looks: tuple[int, ...]


@dataclass(frozen=True)
class _Acting:
    """Some rules, by their numbers, rising."""

    excludes: tuple[int, ...]
    firsts: tuple[int, ...]
    boosts: tuple[int, ...]
    pins: tuple[int, ...]
    lifts: tuple[int, ...]

    @classmethod
    def of(cls, rules: Sequence[Rule], active: Collection[int]) -> Self:
        """Those of some rules that hold."""

        def of(action: Action) -> tuple[int, ...]:
            return tuple(each for each in sorted(active) if rules[each].action is action)

        lifts = tuple(each for each in sorted(active) if rules[each].lifts)
        return cls(of(Action.EXCLUDE), of(Action.FIRST), of(Action.BOOST), of(Action.PIN), lifts)


class Candidates:
    """The products that one scene of a survey has seen."""

    def __init__(
        self,
        survey: Survey,
        place: int,
        scene: SceneEmbedding,
        row: int,
        rules: CategoryRules,
        *,
        count: int,
        calibration: Calibration | None,
        min_compatibility: float | None,
    ) -> None:
        """`count` are asked for at first; `place` is the scene's among the survey's queries."""
        self.rules = rules.rules
        self._survey, self._place = survey, place
        self._scene, self._row = scene, row
        self._bound_rules = rules
        self._calibration, self._minimum = calibration, min_compatibility
        self._pins = {each: float(number) for number, each in enumerate(rules.pins)}
        self._seen: dict[str, Candidate] = {}
        self._by_active: dict[frozenset[int], _Acting] = {}
        named = rules.named
        self._add(_of(named, survey.catalog.met(named, survey.where).all(axis=1)))
        self._counts: dict[int, int] = {}
        self._horizons: dict[int, float] = {}
        for look in (_ALL, *(number for number, rule in enumerate(self.rules) if rule.lifts)):
            self._look(look, count)

    def seen(self, active: frozenset[int]) -> list[tuple[Key, Candidate]]:
        """What some rules leave of all that has been seen, in their order."""
        acting = self._acting(active)
        left = [
            (self._key(candidate, acting), candidate)
            for candidate in self._seen.values()
            if not any(candidate.about[each] for each in acting.excludes)
        ]
        return sorted(left, key=lambda each: (each[0], each[1].match.id))

    def bound(self, active: frozenset[int]) -> Bound | None:
        """Where the unseen begin under some rules; None where nothing that counts is unseen."""
        acting = self._acting(active)
        horizon = self._horizons[_ALL]
        if math.isinf(horizon):
            return None
        bounds = []
        # An unseen product that rules lift is beyond what each of these has given. Where it is as
        # near as that allows, all others that have given no more may lift it as well.
        for distance in {horizon, *(self._horizons[each] for each in acting.lifts)}:
            if distance < horizon or math.isinf(distance):
                continue
            open_ = tuple(each for each in acting.lifts if self._horizons[each] <= distance)
            lifted = tuple(number in open_ for number in range(len(self.rules)))
            bounds.append(Bound(self._place_of(distance, lifted, acting), open_ or (_ALL,)))
        return min(bounds, key=lambda each: each.key)

    def look_further(self, bound: Bound) -> None:
        """See more, so that the bound moves."""
        for look in bound.looks:
            self._look(look, 4 * self._counts[look])

    def model_rank(self, match: Match) -> int | None:
        """A product's rank by distance alone; None where only a look at each could tell.

        A store that cannot count is asked for the FAR nearest.
        """
        if match.distance >= self._horizons[_ALL]:
            counted = self._survey.nearer(self._place, 2 - match.distance)
            if counted is not None:
                return self._rank_among(match, *counted)
            if self._counts[_ALL] < FAR:
                self._look(_ALL, FAR)
        if match.distance < self._horizons[_ALL]:
            order = sorted((each.match.distance, each.match.id) for each in self._seen.values())
            return 1 + bisect_left(order, (match.distance, match.id))
        return None

    def _rank_among(self, match: Match, surely: int, unsure: Hits) -> int:
        """A product's rank, of so many that are surely nearer and of others that may be."""
        near, _ = matched(self._scene, self._row, unsure, None)
        order = sorted((each.distance, each.id) for each in near)
        return 1 + surely + bisect_left(order, (match.distance, match.id))

    def kept_out(self, rule: Rule) -> tuple[str, ...]:
        """What a rule pins, but conditions or the least compatibility of the question leave out."""
        pins = rule.ids if rule.action is Action.PIN else ()
        own = {product.id for product in self._bound_rules.named.products}
        return tuple(each for each in pins if each in own and each not in self._seen)

    def is_pinned(self, candidate: Candidate, active: frozenset[int]) -> bool:
        """Whether a product stands on top by one of some rules."""
        return any(candidate.about[each] for each in self._acting(active).pins)

    def _key(self, candidate: Candidate, acting: "_Acting") -> Key:
        match = candidate.match
        key = self._place_of(match.distance, candidate.about, acting)
        if any(candidate.about[each] for each in acting.pins):
            return (self._pins[match.id], *key[1:])
        return key

    def _place_of(self, distance: float, about: tuple[bool, ...], acting: "_Acting") -> Key:
        """The key of a product that is not pinned."""
        tiers = [0.0 if about[each] else 1.0 for each in acting.firsts]
        factor = 1.0
        for each in acting.boosts:
            if about[each]:
                factor *= self.rules[each].factor
        return (math.inf, *tiers, distance / factor, distance)

    def _acting(self, active: frozenset[int]) -> "_Acting":
        if active not in self._by_active:
            self._by_active[active] = _Acting.of(self.rules, active)
        return self._by_active[active]

    def _look(self, look: int, count: int) -> None:
        """See the `count` nearest of all, or of those that meet a rule's conditions."""
        also = () if look == _ALL else self.rules[look].where
        hits = self._survey.nearest(self._place, count, also)
        distances = sorted(self._add(hits))
        horizon = distances[count - 1] if len(distances) >= count else math.inf
        if not self._is_compatible(horizon):
            horizon = math.inf  # What lies beyond is none of the answer.
        self._counts[look], self._horizons[look] = count, horizon

    def _add(self, hits: Hits) -> list[float]:
        """Take products in, those that are compatible enough; the distances of all."""
        known = [self._seen.get(each) for each in hits.cells("id")]
        new = _of(hits, np.array([each is None for each in known], np.bool_))
        matches, order = matched(self._scene, self._row, new, self._calibration)
        about = self._bound_rules.about(self._survey.catalog, new)  # [n, rules]
        for match, index in zip(matches, order.tolist(), strict=True):
            if self._is_compatible(match.distance):
                self._seen[match.id] = Candidate(
                    match, new.embeddings[index].astype(np.float64), tuple(about[index].tolist())
                )
        distances = [each.match.distance for each in known if each is not None]
        return distances + [match.distance for match in matches]

    def _is_compatible(self, distance: float) -> bool:
        if self._minimum is None or self._calibration is None:
            return True
        return bool(self._calibration.compatibility(np.array(distance)) >= self._minimum)


def _of(hits: Hits, kept: NDArray[np.bool_]) -> Hits:
    places = np.flatnonzero(kept)
    return Hits([hits.products[place] for place in places.tolist()], hits.embeddings[places])
