"""The ledger: what a shop's rules have changed about an answer, and what each of them costs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from completelook.ranking.match import Match, Ranking
from completelook.ranking.rules.arrangement import Arrangement, Placed
from completelook.ranking.rules.candidates import Candidates
from completelook.ranking.variety import Variety


@dataclass(frozen=True)
class Move:
    """A product that stands elsewhere because of a rule."""

    id: str
    before: int | None  # its rank without the rule; None where it would not be shown
    after: int | None  # its rank with it; None where it is not shown


@dataclass(frozen=True)
class Effect:
    """What one rule has changed: the answer beside the one without this rule, all others kept."""

    rule: str
    category: str | None  # whose rule it is, as the shop calls it; None for all categories
    moves: tuple[Move, ...]  # by rank, those that have left at the end
    cost: float | None  # see `Ledger.cost`, of this rule alone
    kept_out: tuple[str, ...] = ()  # pinned, but left out by the question's conditions or minimum

    @property
    def came(self) -> list[Move]:
        """The products that are shown because of it, by rank."""
        return [move for move in self.moves if move.before is None]

    @property
    def went(self) -> list[Move]:
        """The products that are not shown because of it."""
        return [move for move in self.moves if move.after is None]

    @property
    def stayed(self) -> list[Move]:
        """The products that are shown with and without it, but elsewhere."""
        return [move for move in self.moves if move.before and move.after]


@dataclass(frozen=True)
class Ledger:
    """An answer beside the one that the model alone would give to the same question."""

    model: tuple[Match, ...]  # the order without any rule
    shown: tuple[Match, ...]  # the order with all of them
    effects: tuple[Effect, ...]  # a rule each, in the order in which they hold
    unit: str  # of costs: "compatibility", or "distance" of a model that is not calibrated
    cost: float | None  # how much less well the products shown fit, on average; None without any

    def as_mapping(self) -> dict[str, Any]:
        """The ledger in what JSON knows, products by their ids."""
        return {
            "model": [match.id for match in self.model],
            "shown": [match.id for match in self.shown],
            "effects": [
                {
                    "rule": each.rule,
                    "category": each.category,
                    "moves": [asdict(move) for move in each.moves],
                    "cost": each.cost,
                    "kept_out": [*each.kept_out],
                }
                for each in self.effects
            ],
            "unit": self.unit,
            "cost": self.cost,
        }


def ruled(candidates: Candidates, *, top: int, variety: Variety) -> Ranking:
    """The products of a category under all rules of its candidates, with the ledger of it."""
    rules = candidates.rules
    everyone = frozenset(range(len(rules)))

    def shown(active: frozenset[int]) -> list[Match]:
        placed = Arrangement(candidates, active, top, variety).shown()
        return [_match(each, rank) for rank, each in enumerate(placed, start=1)]

    matches, model = shown(everyone), shown(frozenset())
    effects = []
    for number, rule in enumerate(rules):
        without = shown(everyone - {number})
        effects.append(
            Effect(
                rule=str(rule),
                category=rule.category,
                moves=_moves(without, matches),
                cost=_cost(without, matches),
                kept_out=candidates.kept_out(rule),
            )
        )
    moved = {
        match.id: tuple(
            effect.rule for effect in effects if match.id in {move.id for move in effect.moves}
        )
        for match in matches
    }
    matches = [
        replace(match, moved_by=moved[match.id], model_rank=candidates.model_rank(match))
        for match in matches
    ]
    ranking = Ranking(matches)
    ranking.ledger = Ledger(
        model=tuple(model),
        shown=tuple(matches),
        effects=tuple(effects),
        unit="distance" if _is_uncalibrated([*matches, *model]) else "compatibility",
        cost=_cost(model, matches),
    )
    return ranking


def _match(placed: Placed, rank: int) -> Match:
    return replace(placed.candidate.match, rank=rank, folded=placed.folded)


def _moves(before: Sequence[Match], after: Sequence[Match]) -> tuple[Move, ...]:
    ranks_before = {match.id: match.rank for match in before}
    ranks_after = {match.id: match.rank for match in after}
    return tuple(
        Move(id_, ranks_before.get(id_), ranks_after.get(id_))
        for id_ in (ranks_after | ranks_before)
        if ranks_before.get(id_) != ranks_after.get(id_)
    )


def _cost(before: Sequence[Match], after: Sequence[Match]) -> float | None:
    """What the second answer loses beside the first, as a mean over the products of each."""
    if not (before and after):
        return None
    if _is_uncalibrated([*before, *after]):
        return fmean(match.distance for match in after) - fmean(match.distance for match in before)
    return fmean(_compatibility(each) for each in before) - fmean(
        _compatibility(each) for each in after
    )


def _is_uncalibrated(matches: Sequence[Match]) -> bool:
    return any(match.compatibility is None for match in matches)


def _compatibility(match: Match) -> float:
    return match.compatibility if match.compatibility is not None else 0.0
