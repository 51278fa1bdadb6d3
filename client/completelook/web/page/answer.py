"""The answer to a state: tabs, the products of one, or the look, and what went wrong."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from completelook.catalog import Catalog, Comparison, Condition
from completelook.errors import CategoryError
from completelook.ranking import (
    Calibration,
    Look,
    Looks,
    Match,
    Ranking,
    RankOptions,
    Rules,
    categories_to_rank,
    complete,
    rank_scene,
    steered,
)
from completelook.triton import SceneEmbedding
from completelook.web.page.cards import FITS, Card, cards, last_part
from completelook.web.page.controls import offer_of, price_of
from completelook.web.page.ledger import NO_LEDGER, ShownLedger, ledger_of, rules_of
from completelook.web.page.state import LOOK_TAB, State
from completelook.web.service import Service

# More than these in a look are no look any more, and each costs the solver time.
_SLOTS = 5


@dataclass(frozen=True)
class Tab:
    """A category, or the look."""

    value: str
    label: str
    is_open: bool


@dataclass(frozen=True)
class ShownLook:
    """One product a category."""

    cards: Sequence[Card]
    price: str

    def instead_of(self, other: "ShownLook") -> str:
        """What it has in place of another's, in words."""
        return ", ".join(
            f"{_named(own)} instead of {_named(theirs)}"
            for own, theirs in zip(self.cards, other.cards, strict=True)
            if own.match.id != theirs.match.id
        )


@dataclass(frozen=True)
class Budget:
    """The slider: from the cheapest sum that may be asked for to what the best look costs."""

    least: int
    most: int
    value: float
    unit: str


@dataclass(frozen=True)
class Answer:
    """What the page shows of a scene."""

    tabs: Sequence[Tab]
    tab: str
    title: str
    is_calibrated: bool
    cards: Sequence[Card] = ()
    is_fit: bool = True  # whether anything fits
    has_more: bool = False
    looks: Sequence[ShownLook] = ()
    more: ShownLook | None = None  # what a little more money would buy
    budget: Budget | None = None
    slots: Mapping[str, bool] = field(default_factory=dict)  # categories, whether in the look
    left_out: Sequence[str] = ()
    ledger: ShownLedger = NO_LEDGER

    @property
    def told(self) -> str:
        """The answer in one sentence, for who hears it."""
        shown = self.looks[0].cards if self.looks else self.cards
        if not shown:
            return f"{self.title}: nothing meets the conditions"
        first = shown[0]
        word = f", which {first.word}" if first.word else ""
        return f"{self.title}: {len(shown)} shown, first {first.name}{word}"


async def answer(service: Service, scene: SceneEmbedding, state: State) -> Answer:
    """Answer a state about its scene. Raises what ranking raises."""
    calibration = await service.look.calibration()
    best = _Best(
        steered(scene, state.steering()),
        service.catalog,
        calibration,
        state.conditions(),
        [Condition("id", Comparison.NOT_EQUAL, each) for each in state.excludes],
        rules_of(state, service.settings.rules),
    )
    return await asyncio.to_thread(_answer, best, state)


def _answer(best: "_Best", state: State) -> Answer:
    catalog = best.catalog
    names = categories_to_rank(catalog, ())
    tab = state.tab or best.fitting[0]
    if tab != LOOK_TAB and tab not in names:
        raise CategoryError(f"the catalog holds no products of {tab!r}")
    labels = _labels(names)
    tabs = [Tab(LOOK_TAB, "The whole look", tab == LOOK_TAB)]
    tabs += [Tab(name, labels[name], name == tab) for name in names]
    plain = Answer(
        tabs=tabs,
        tab=tab,
        title=labels.get(tab, "The whole look"),
        is_calibrated=best.calibration is not None,
    )
    if tab == LOOK_TAB:
        return _with_look(plain, best, names, state)
    found = best.ranked(tab, state.top)
    fits = [match.compatibility for match in found]
    return replace(
        plain,
        cards=cards(best.scene, catalog, found, state.pins),
        is_fit=any(fit is None or fit >= FITS for fit in fits),
        has_more=len(found) == state.top < catalog.category_counts[tab],
        ledger=ledger_of(state, catalog, found.ledger),
    )


@dataclass(frozen=True)
class _Best:
    """What suits a scene under conditions."""

    scene: SceneEmbedding
    catalog: Catalog
    calibration: Calibration | None
    where: Sequence[Condition]
    hidden: Sequence[Condition]  # what `rules` exclude as well, for what knows no rules
    rules: Rules

    def ranked(self, category: str, top: int) -> Ranking:
        """The best of one category under the rules."""
        options: RankOptions = {"top": top, "where": self.where, "rules": self.rules}
        found = rank_scene(
            self.scene, self.catalog, (category,), calibration=self.calibration, **options
        )
        return next(iter(found.values()))

    @property
    def fitting(self) -> list[str]:
        """The categories, first the one whose best product fits best; as they are where none can
        be told apart.
        """
        where = [*self.where, *self.hidden]
        found = rank_scene(
            self.scene, self.catalog, calibration=self.calibration, top=1, where=where
        )
        return sorted(found, key=lambda name: -(_fit(found[name]) or 0.0))


def _fit(matches: Sequence[Match]) -> float | None:
    return matches[0].compatibility if matches else None


def _with_look(plain: Answer, best: _Best, names: Sequence[str], state: State) -> Answer:
    """The look of the chosen categories, or of those that fit best."""
    chosen = [name for name in names if name in state.slots]
    chosen = chosen or sorted(best.fitting[:_SLOTS], key=names.index)
    free = _complete(best, chosen, state, None)
    budget = _budget(best.catalog, free, state)
    is_less = budget is not None and budget.value < budget.most
    found = _complete(best, chosen, state, budget.value) if budget and is_less else free
    more = found.worth_more
    return replace(
        plain,
        looks=[_shown(best, look, found.currency) for look in found.looks],
        more=_shown(best, more, found.currency) if more else None,
        budget=budget,
        slots={name: name in chosen for name in names},
        left_out=[last_part(each) for each in found.left_out],
        ledger=ledger_of(state, best.catalog),
    )


def _budget(catalog: Catalog, free: Looks, state: State) -> Budget | None:
    """The slider, where it is known what the best look costs: more would buy nothing."""
    best = free.looks[0]
    if best.price is None:
        return None
    cheapest = offer_of(catalog).cheapest
    prices = [
        price_of(match.product) if match.id in state.pins else cheapest.get(match.category)
        for match in best.matches
    ]
    least = math.ceil(sum(price or 0 for price in prices))
    most = math.ceil(best.price)
    wanted = state.budget_sum()
    value = most if wanted is None else min(wanted, most)
    return Budget(min(least, most), most, value, free.currency or "")


def _complete(best: _Best, slots: Sequence[str], state: State, budget: float | None) -> Looks:
    return complete(
        best.scene,
        best.catalog,
        slots,
        budget=budget,
        must=state.pins,
        where=[*best.where, *best.hidden],
        calibration=best.calibration,
    )


def _shown(best: _Best, look: Look, currency: str | None) -> ShownLook:
    return ShownLook(cards(best.scene, best.catalog, look.matches), _money(look.price, currency))


def _money(amount: float | None, currency: str | None) -> str:
    return "" if amount is None else f"{amount:,.2f} {currency or ''}".strip()


def _named(card: Card) -> str:
    return f"{card.name} ({card.price})" if card.price else card.name


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Each category's last part, or all of it where two end alike."""
    ends = [last_part(name) for name in names]
    return {
        name: end if ends.count(end) == 1 else name for name, end in zip(names, ends, strict=True)
    }
