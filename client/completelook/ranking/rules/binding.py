"""Binding: rules held against a catalog, so that each says what it means there or what is wrong."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog, Hits
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CatalogError, CategoryError, ConditionError, UsageError
from completelook.products import Product
from completelook.ranking.rules.rules import Action, Rule, Rules


@dataclass(frozen=True, eq=False)
class CategoryRules:
    """The rules of one category of a catalog; its own come before those of all categories."""

    rules: tuple[Rule, ...]
    named: Hits  # the products that rules name, of this category

    @property
    def pins(self) -> tuple[str, ...]:
        """What stands on top, in this order, of whatever there is."""
        pins = (rule.ids for rule in self.rules if rule.action is Action.PIN)
        return tuple(dict.fromkeys(each for ids in pins for each in ids))

    def about(self, catalog: Catalog, hits: Hits) -> NDArray[np.bool_]:
        """Which rules each of some products is among the products of, [n, rules]."""
        found = np.zeros((len(hits.products), len(self.rules)), np.bool_)
        ids = hits.cells("id")
        conditions = list(dict.fromkeys(each for rule in self.rules for each in rule.where))
        met = catalog.met(hits, conditions)  # [n, conditions]
        for place, rule in enumerate(self.rules):
            if rule.where:
                found[:, place] = met[:, [conditions.index(each) for each in rule.where]].all(1)
            else:
                found[:, place] = [each in rule.ids for each in ids]
        return found


def require_rules(rules: Rules, catalog: Catalog) -> None:
    """Raises UsageError for rules that make no sense for a catalog, naming the first."""
    for name in {_resolved(rules, rule, catalog): None for rule in rules.rules}:
        bind(rules, catalog, name)


def bind(rules: Rules, catalog: Catalog, category: str | None) -> CategoryRules:
    """The rules of a category, given by its full name; with None, those of all, of whatever it is.

    Raises UsageError as `require_rules`.
    """
    own = [] if category is None else _of(rules, category, catalog)
    own += [rule for rule in rules.rules if rule.category is None]
    products: dict[str, Product] = {}
    embeddings: list[NDArray[np.float32]] = []
    for rule in own:
        _require_meaning(rules, rule, catalog)
        for product, embedding in _named(rules, rule, catalog):
            if category in (None, product.category):
                if product.id not in products:
                    embeddings.append(embedding)
                products[product.id] = product
            elif rule.category is not None:
                raise UsageError(
                    f"{rules.where_is(rule)}: {product.id!r} is of category {product.category!r}: "
                    "name it under that one, or outside of all categories"
                )
    vectors = np.array(embeddings, np.float32).reshape(len(products), EMBEDDING_SIZE)
    bound = CategoryRules(tuple(own), Hits([*products.values()], vectors))
    _require_no_contradiction(rules, bound, catalog)
    return bound


def _of(rules: Rules, category: str, catalog: Catalog) -> list[Rule]:
    """The rules of one category alone."""
    return [rule for rule in rules.rules if _resolved(rules, rule, catalog) == category]


def _resolved(rules: Rules, rule: Rule, catalog: Catalog) -> str | None:
    """The full name of a rule's category. Raises UsageError."""
    if rule.category is None or rule.category in catalog.category_counts:
        return rule.category
    try:
        return catalog.categories.names[catalog.categories.resolve(rule.category)]
    except CategoryError as error:
        raise UsageError(f"{rules.source}: {error}") from error


def _require_meaning(rules: Rules, rule: Rule, catalog: Catalog) -> None:
    try:
        catalog.conditions(rule.where)
        if rule.action is Action.AT_MOST:
            catalog.columns_to_show([rule.column])
    except (ConditionError, CatalogError) as error:
        raise UsageError(f"{rules.where_is(rule)}: {error}") from error


def _named(
    rules: Rules, rule: Rule, catalog: Catalog
) -> Iterable[tuple[Product, NDArray[np.float32]]]:
    """The products that a rule names, and their embeddings."""
    if not rule.ids:
        return ()
    try:
        held = catalog.get(rule.ids)
    except CatalogError as error:
        hint = "take it out of the rules, or index it"
        if any(sign in each for each in rule.ids for sign in "=<>"):
            hint = "a condition is written { where = 'brand = ACME' }"
        raise UsageError(f"{rules.where_is(rule)}: {error}: {hint}") from error
    return zip(held.products, held.embeddings, strict=True)


def _require_no_contradiction(rules: Rules, bound: CategoryRules, catalog: Catalog) -> None:
    """Raises UsageError for a product that is pinned twice, or both pinned and excluded."""
    about = bound.about(catalog, bound.named)
    for product, own in zip(bound.named.products, about, strict=True):
        pins = list(_acting(bound.rules, own, Action.PIN))
        if len(pins) > 1:
            raise UsageError(
                f"{rules.where_is(pins[1])}: {product.id!r} is pinned by another rule as well, "
                f"{pins[0]}: pin it once"
            )
        for rule in _acting(bound.rules, own, Action.EXCLUDE) if pins else ():
            raise UsageError(
                f"{rules.where_is(rule)}: {product.id!r} is both pinned and excluded: take it out "
                "of one of the two rules"
            )


def _acting(rules: Sequence[Rule], about: NDArray[np.bool_], action: Action) -> Iterator[Rule]:
    return (
        rule
        for rule, is_about in zip(rules, about, strict=True)
        if is_about and rule.action is action
    )
