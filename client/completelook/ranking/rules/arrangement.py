"""Arrangement: the places of a category's products under rules, and what stands for others."""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from completelook.ranking.match import Match, group_of
from completelook.ranking.rules.candidates import Candidate, Candidates, Key
from completelook.ranking.rules.rules import Action, Rule
from completelook.ranking.variety import POOL, Variety, folded


@dataclass(frozen=True)
class Placed:
    """A product that is shown, and those it stands for."""

    candidate: Candidate
    key: Key
    folded: tuple[str, ...]


@dataclass(frozen=True)
class Arrangement:
    """How some of the rules place the candidates."""

    candidates: Candidates
    active: frozenset[int]  # the rules that hold, by number
    top: int
    variety: Variety

    def shown(self) -> list[Placed]:
        """The `top` products, exactly as a look at every product of the category would place them.

        More and more are looked at until all of them are settled.
        """
        while True:
            bound = self.candidates.bound(self.active)
            ordered = self.candidates.seen(self.active)
            if bound is not None:
                ordered = [each for each in ordered if each[0] <= bound.key]
            pool = self._pool(ordered, is_all=bound is None)
            if pool is not None:
                return self._chosen(pool)
            assert bound is not None
            self.candidates.look_further(bound)

    def _pool(
        self, ordered: Sequence[tuple[Key, Candidate]], *, is_all: bool
    ) -> list[Placed] | None:
        """What competes for the places; None where more has to be seen to tell."""
        most = self.variety.pool(self.top)
        caps = _Caps(self._rules(Action.AT_MOST), POOL if self.variety.diversity else 1)
        pool: list[list[int]] = []
        leaders = self._leaders([candidate for _, candidate in ordered])
        for leader in leaders:
            if len(pool) == most:
                return self._placed(ordered, pool, before=leader[0])
            candidate = ordered[leader[0]][1]
            if caps.admit(candidate.match, always=self._is_pinned(candidate)):
                pool.append(leader)
        if is_all or (len(pool) == most and not self.variety.folds):
            return self._placed(ordered, pool, before=len(ordered))
        return None

    def _leaders(self, candidates: Sequence[Candidate]) -> list[list[int]]:
        """Products that stand for others, each followed by those, by their places."""
        if not (self.variety.folds and candidates):
            return [[place] for place in range(len(candidates))]
        groups = [group_of(each.match, self.variety.group_by) for each in candidates]
        embeddings = np.array([each.embedding for each in candidates])  # [n, 128]
        return folded(groups, embeddings, duplicates=self.variety.fold_duplicates)

    def _placed(
        self, ordered: Sequence[tuple[Key, Candidate]], pool: Sequence[list[int]], *, before: int
    ) -> list[Placed]:
        placed = []
        for first, *others in pool:
            key, candidate = ordered[first]
            ids = tuple(ordered[other][1].match.id for other in others if other < before)
            placed.append(Placed(candidate, key, ids))
        return placed

    def _chosen(self, pool: list[Placed]) -> list[Placed]:
        """The products shown, of those that compete: one by one, the next best that is allowed.

        Without diversity that is their order. With it, of those that are as good by the rules that
        say what comes first, the one that is best by maximal marginal relevance, see `diversified`.
        """
        caps = _Caps(self._rules(Action.AT_MOST), 1)
        chosen: list[Placed] = []
        left = list(pool)
        while left and len(chosen) < self.top:
            left = [each for each in left if caps.allow(each.candidate.match) or self._pins(each)]
            if not left:
                break
            first = left[0]
            if self.variety.diversity and not self._pins(first):
                tier = first.key[:-2]
                first = self._most_relevant(
                    [each for each in left if each.key[:-2] == tier], chosen
                )
            left.remove(first)
            caps.admit(first.candidate.match, always=True)
            chosen.append(first)
        return chosen

    def _most_relevant(self, pool: Sequence[Placed], chosen: Sequence[Placed]) -> Placed:
        if not chosen:
            return pool[0]
        diversity = self.variety.diversity
        embeddings = np.array([each.candidate.embedding for each in pool])  # [n, 128]
        shown = np.array([each.candidate.embedding for each in chosen])  # [k, 128]
        # Row by row, so that equal embeddings are equally alike to the last bit.
        likeness = np.max([(embeddings * each).sum(axis=1) for each in shown], axis=0)  # [n]
        distances = np.array([each.key[-2] for each in pool])  # [n], boosted
        marginal = (1 - diversity) * (1 - distances / 2) - diversity * likeness  # [n]
        return pool[int(np.argmax(marginal))]

    def _rules(self, action: Action) -> list[Rule]:
        rules = self.candidates.rules
        return [rules[each] for each in sorted(self.active) if rules[each].action is action]

    def _is_pinned(self, candidate: Candidate) -> bool:
        return self.candidates.is_pinned(candidate, self.active)

    def _pins(self, placed: Placed) -> bool:
        return self._is_pinned(placed.candidate)


class _Caps:
    """How many products with the same value in a column are in, and how many may be."""

    def __init__(self, rules: Collection[Rule], times: int) -> None:
        self._rules = rules
        self._times = times
        self._held: Counter[tuple[str, Hashable]] = Counter()

    def allow(self, match: Match) -> bool:
        """Whether one more may come in; one with nothing in the column always may."""
        return all(
            self._held[rule.column, value] < self._times * rule.count
            for rule in self._rules
            if (value := group_of(match, rule.column)) is not None
        )

    def admit(self, match: Match, *, always: bool) -> bool:
        """Let one in that may, or must; whether it is."""
        if not (always or self.allow(match)):
            return False
        columns = {rule.column for rule in self._rules}
        self._held.update((column, group_of(match, column)) for column in columns)
        return True
