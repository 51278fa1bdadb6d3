"""The ledger on the page: what pins, hidden products and the shop's rules change, and cost."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from completelook.catalog import Catalog
from completelook.errors import CatalogError
from completelook.ranking import Effect, Ledger, Match, Rules
from completelook.ranking.rules import Action, Rule
from completelook.web.page.state import State


@dataclass(frozen=True)
class Entry:
    """One change of the order."""

    verb: str
    what: str
    told: str  # what it has done here
    undo: str  # the form's field that takes it back; empty of a rule of the shop's
    value: str


@dataclass(frozen=True)
class ShownLedger:
    """All changes, and the answer with and without them."""

    entries: Sequence[Entry] = ()
    cost: str = ""  # of all together
    model: Sequence[str] = ()  # the names of what the model alone would show, in its order


NO_LEDGER = ShownLedger()
_DEEDS = {  # what a person did, how it is called and how it is taken back
    Action.PIN: ("Pinned", "unpin"),
    Action.EXCLUDE: ("Hidden", "include"),
}
_NO_COST = 5e-4  # what is shown as 0.000


def rules_of(state: State, shop: Rules) -> Rules:
    """A person's rules, each of one product so that each has a cost of its own; then the shop's."""
    return Rules((*_own(state), *shop.rules), shop.source)


def ledger_of(state: State, catalog: Catalog, answered: Ledger | None = None) -> ShownLedger:
    """The changes as the page tells them, with what they did to an answer where there is one."""
    own = {str(rule): rule for rule in _own(state)}
    names = _names(catalog, [rule.ids[0] for rule in own.values()])
    effects = {} if answered is None else {effect.rule: effect for effect in answered.effects}
    entries = []
    for text, rule in own.items():
        verb, undo = _DEEDS[rule.action]
        (product_id,) = rule.ids
        told = _told(product_id, effects.get(text), answered)
        entries.append(Entry(verb, names[product_id], told, undo, product_id))
    entries += [
        Entry("By the shop", effect.rule, _told("", effect, answered), "", "")
        for text, effect in effects.items()
        if text not in own
    ]
    if answered is None:
        return ShownLedger(entries)
    name_column = next(iter(catalog.columns_to_show()), "")
    return ShownLedger(
        entries,
        cost=_cost(answered.cost, answered.unit),
        model=[str(each.product.get(name_column) or each.id) for each in answered.model],
    )


def _own(state: State) -> list[Rule]:
    pins = [Rule(Action.PIN, ids=(each,)) for each in state.pins]
    return pins + [Rule(Action.EXCLUDE, ids=(each,)) for each in state.excludes]


def _names(catalog: Catalog, ids: Sequence[str]) -> Mapping[str, str]:
    """What products are called; of one that the catalog does not hold, its id."""
    name_column = next(iter(catalog.columns_to_show()), "")
    names = {each: each for each in ids}
    for each in ids:
        with suppress(CatalogError):
            names[each] = str(catalog.get([each]).products[0].columns.get(name_column) or each)
    return names


def _told(product_id: str, effect: Effect | None, answered: Ledger | None) -> str:
    """What a rule did to an answer, in a sentence; nothing without one."""
    if effect is None or answered is None:
        return ""
    if effect.kept_out:
        return "Left out by what you ask for under “Narrow down”."
    if not effect.moves:
        return "Changes nothing here."
    own = next((match for match in answered.shown if match.id == product_id), None)
    if own is not None:
        where = "farther down" if own.model_rank is None else f"at {own.model_rank}"
        moved = f"Now at {own.rank}, by the model alone {where}."
        moved += _beside(own, answered.model[own.rank - 1 : own.rank])
    elif product_id:
        before = next((each.rank for each in answered.model if each.id == product_id), None)
        moved = f"By the model alone at {before}." if before else ""
    else:
        moved = f"{len(effect.moves)} stand elsewhere."
    return f"{moved} {_cost(effect.cost, answered.unit)}".strip()


def _beside(own: Match, there: Sequence[Match]) -> str:
    """How much less well a product fits than what the model has in its place."""
    if not there or own.compatibility is None or there[0].compatibility is None:
        return ""
    less = there[0].compatibility - own.compatibility
    return f" Fits {less:.3f} less than what the model has there." if less > _NO_COST else ""


def _cost(cost: float | None, unit: str) -> str:
    """A cost in a sentence."""
    if cost is None:
        return ""
    if abs(cost) < _NO_COST:
        return "What is shown fits as well on average."
    if unit == "distance":
        return f"What is shown is {abs(cost):.3f} {'farther' if cost > 0 else 'nearer'} on average."
    return f"What is shown fits {abs(cost):.3f} of 1 {'less' if cost > 0 else 'more'} on average."
