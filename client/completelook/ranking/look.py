"""The complete look: one product a category, so that they suit the scene and one another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog, Filter, Hits, Where, is_missing
from completelook.errors import CatalogError, UsageError
from completelook.products import Amount, read_amount
from completelook.ranking.best_sets import FoundSet, Slot, best_sets
from completelook.ranking.calibration import Calibration
from completelook.ranking.match import Match, matched, scene_query
from completelook.ranking.notebook import looks_html
from completelook.ranking.ranking import categories_to_rank
from completelook.ranking.steering import NO_STEERING, Steering, steered
from completelook.triton import SceneEmbedding

if TYPE_CHECKING:
    from completelook.ranking.receipts import Receipt

# How much the products' distances among each other count beside those to the scene, which is what
# the model was trained for. In 29 real rooms that no training saw, the set with the room's own
# product beat the one with another of its category in 71.3% with 0, 72.7% with 0.25, the same up to
# 0.4, and 69.0% with 1 (docs/catalog.md).
COHERENCE = 0.25
PRICE_COLUMN = "price"
MORE = 20.0
NO_BETTER = 1e-5  # what scores differ by at most where they are as good as each other
SHOWN = 3
# The nearest of each category; what lies beyond counts for the proof, by its distance.
_CANDIDATES = 10_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Look:
    """Products that make a look, one of each category. Smaller is better, in [0, 4]."""

    matches: tuple[Match, ...]  # each with its rank in its category for the scene alone
    score: float  # (1 - coherence) scene_distance + coherence mutual_distance
    scene_distance: float  # the mean distance to the scene
    mutual_distance: float  # the mean squared distance between two products of it; 0 of one alone
    price: float | None  # of all together; None where that is not known of each
    gap: float  # no look but those before it scores better by more than this: 0 where it is proved


@dataclass(frozen=True)
class Looks:
    """The best looks for a scene, best first."""

    looks: tuple[Look, ...]
    with_more: Look | None  # the best one for the larger budget; None without a budget
    larger_budget: float | None
    left_out: tuple[str, ...]  # categories of which no product may be in it
    currency: str | None  # of all prices
    # Of every answer that a client gives.
    receipt: "Receipt | None" = field(default=None, repr=False, compare=False)

    @property
    def worth_more(self) -> Look | None:
        """The best one for the larger budget, where it is better than the best without."""
        more = self.with_more
        return more if more and more.score < self.looks[0].score - NO_BETTER else None

    def _repr_html_(self) -> str:
        return looks_html(self)


class LookOptions(TypedDict, total=False):
    """What `complete` may be told beside scene, catalog and categories."""

    budget: float | None  # what all products together may cost
    more: float  # how much more to spend is tried as well, MORE where nothing is said
    must: Sequence[str]  # ids of products that are in it, whatever the conditions
    where: Sequence[Where]  # only products that meet all of these
    price_column: str  # PRICE_COLUMN where nothing is said
    coherence: float  # in 0..1, COHERENCE where nothing is said
    steering: Steering  # which parts of the scene count


def complete(
    scene: SceneEmbedding,
    catalog: Catalog,
    categories: Sequence[str] = (),
    *,
    budget: float | None = None,
    more: float = MORE,
    must: Sequence[str] = (),
    where: Sequence[Where] = (),
    price_column: str = PRICE_COLUMN,
    coherence: float = COHERENCE,
    steering: Steering = NO_STEERING,
    calibration: Calibration | None = None,
) -> Looks:
    """The best looks of some categories for a scene: the best, and the two that come next.

    Without categories: of each that the model knows and the catalog holds. A category of which
    nothing meets the conditions is left out. With a budget only products with a price come in.

    Raises what `rank` raises, UsageError, and CatalogError where nothing is left, a product that
    must be in it cannot be, prices are in several currencies, or none of the looks is so cheap.
    """
    filters = require_look_options(
        catalog,
        budget=budget,
        more=more,
        must=must,
        where=where,
        price_column=price_column,
        coherence=coherence,
    )
    scene = steered(scene, steering)
    fixed = _fixed(catalog, must)
    names = list(dict.fromkeys([*categories_to_rank(catalog, categories), *fixed]))
    column = price_column if price_column in catalog.info.columns else None
    choices = [_Choice.of(scene, catalog, name, filters, fixed.get(name), column) for name in names]
    currencies = sorted({each for choice in choices for each in choice.currencies})
    if budget is not None:
        if len(currencies) > 1:
            raise CatalogError(
                f"{catalog.info.location}: prices in {' and '.join(currencies)} cannot be added "
                f"up: choose those of one with a condition such as '{price_column}<1000 EUR'"
            )
        choices = [choice.priced() for choice in choices]
    elif len(currencies) > 1:  # What they cost together is no sum.
        choices = [replace(each, prices=np.full_like(each.prices, np.nan)) for each in choices]
    left_out = tuple(choice.category for choice in choices if not len(choice.rows))
    choices = [choice for choice in choices if len(choice.rows)]
    if not choices or not fixed.keys().isdisjoint(left_out):
        raise CatalogError(
            f"{catalog.info.location}: nothing of {', '.join(left_out)} meets the conditions"
            + ("" if budget is None else f" and has a price in {price_column!r}")
        )
    looks = _looks(scene, choices, coherence, calibration, budget, SHOWN)
    if not looks:
        least = sum(float(choice.prices.min()) for choice in choices)
        raise CatalogError(
            f"budget {budget:g}: the cheapest look of {len(choices)} products costs {least:.2f}: "
            "give more, or name fewer categories"
        )
    larger = None if budget is None else budget + more
    with_more = (
        None if larger is None else _looks(scene, choices, coherence, calibration, larger, 1)
    )
    return Looks(
        looks=looks,
        with_more=with_more[0] if with_more else None,
        larger_budget=larger,
        left_out=left_out,
        currency=currencies[0] if len(currencies) == 1 else None,
    )


def require_look_options(
    catalog: Catalog,
    *,
    budget: float | None = None,
    more: float = MORE,
    must: Sequence[str] = (),
    where: Sequence[Where] = (),
    price_column: str = PRICE_COLUMN,
    coherence: float = COHERENCE,
    steering: Steering = NO_STEERING,  # noqa: ARG001 - makes sense by itself, or is none
) -> tuple[Filter, ...]:
    """The conditions, parsed; whatever the scene, the options must make sense for a catalog.

    Raises UsageError, ConditionError, and CatalogError for a product or column that is not there.
    """
    for name, amount in (("budget", budget or 0.0), ("more", more)):
        if not 0 <= amount < np.inf:
            raise UsageError(f"{name} is {amount}, expected a sum of money")
    if not 0 <= coherence <= 1:
        raise UsageError(f"coherence is {coherence}, expected a number from 0 to 1")
    if budget is not None or price_column != PRICE_COLUMN:
        catalog.columns_to_show([price_column])
    _fixed(catalog, must)
    return catalog.conditions(where)


def _fixed(catalog: Catalog, must: Sequence[str]) -> dict[str, Hits]:
    """The product that must be in a look, by its category."""
    fixed: dict[str, Hits] = {}
    for product_id in dict.fromkeys(must):
        hits = catalog.get([product_id])
        category = hits.products[0].category
        catalog.categories.resolve(category)
        if category in fixed:
            other = fixed[category].products[0].id
            raise UsageError(
                f"{other!r} and {product_id!r} are both of {category!r}: a look has one of each"
            )
        fixed[category] = hits
    return fixed


@dataclass(frozen=True, eq=False)
class _Choice:
    """A category and the n products of it that may be in a look."""

    category: str
    row: int  # in the scene's contexts
    hits: Hits
    rows: NDArray[np.intp]  # [n], of the hits
    distances: NDArray[np.float64]  # [n]
    ranks: NDArray[np.intp]  # [n], from 1, in the category for the scene alone
    prices: NDArray[np.float64]  # [n], NaN where there is none
    currencies: frozenset[str]
    beyond: float  # the distance that what might be in it as well has at least

    @classmethod
    def of(
        cls,
        scene: SceneEmbedding,
        catalog: Catalog,
        category: str,
        filters: tuple[Filter, ...],
        fixed: Hits | None,
        price_column: str | None,
    ) -> "_Choice":
        """What meets the conditions, or else the one that must be in it."""
        row = catalog.categories.resolve(category)
        query = scene_query(scene, row, category).astype(np.float64)  # [128]
        found = catalog.search(query.astype(np.float32), category, top=_CANDIDATES, where=filters)
        ranked = np.sort(2 - found.embeddings @ query)  # [m]
        hits = found if fixed is None else fixed
        distances = 2 - hits.embeddings @ query  # [n]
        amounts = _amounts(
            [None] * len(distances) if price_column is None else hits.cells(price_column)
        )
        is_cut = fixed is None and len(distances) >= _CANDIDATES
        return cls(
            category=category,
            row=row,
            hits=hits,
            rows=np.arange(len(distances)),
            distances=distances,
            ranks=np.searchsorted(ranked, distances - _ROUNDING) + 1,
            prices=np.array([np.nan if each is None else float(each.value) for each in amounts]),
            currencies=frozenset(each.currency for each in amounts if each and each.currency),
            beyond=float(ranked[-1]) if is_cut else np.inf,
        )

    def priced(self) -> "_Choice":
        """Those that have a price."""
        kept = np.flatnonzero(np.isfinite(self.prices))
        return replace(
            self,
            rows=self.rows[kept],
            distances=self.distances[kept],
            ranks=self.ranks[kept],
            prices=self.prices[kept],
        )

    def slot(self) -> Slot:
        """As the solver sees it."""
        embeddings = self.hits.embeddings[self.rows]
        return Slot(self.distances, embeddings, np.nan_to_num(self.prices), self.beyond)

    def match(self, scene: SceneEmbedding, place: int, calibration: Calibration | None) -> Match:
        """The product at a place."""
        at = int(self.rows[place])
        one = Hits([self.hits.products[at]], self.hits.embeddings[[at]])
        [match], _ = matched(scene, self.row, one, calibration)
        return replace(match, rank=int(self.ranks[place]))


def _looks(
    scene: SceneEmbedding,
    choices: Sequence[_Choice],
    coherence: float,
    calibration: Calibration | None,
    budget: float | None,
    count: int,
) -> tuple[Look, ...]:
    slots = [choice.slot() for choice in choices]
    found = best_sets(slots, coherence=coherence, budget=budget, count=count)
    return tuple(_look(scene, choices, each, calibration) for each in found)


def _look(
    scene: SceneEmbedding,
    choices: Sequence[_Choice],
    found: FoundSet,
    calibration: Calibration | None,
) -> Look:
    chosen = list(zip(choices, found.places, strict=True))
    matches = tuple(choice.match(scene, place, calibration) for choice, place in chosen)
    vectors = [
        choice.hits.embeddings[choice.rows[place]].astype(np.float64) for choice, place in chosen
    ]
    pairs = [float(np.square(one - other).sum()) for one, other in combinations(vectors, 2)]
    price = sum(float(choice.prices[place]) for choice, place in chosen)
    return Look(
        matches=matches,
        score=found.score,
        scene_distance=fmean(match.distance for match in matches),
        mutual_distance=fmean(pairs) if pairs else 0.0,
        price=None if math.isnan(price) else price,
        gap=max(0.0, found.score - found.bound),
    )


def _amounts(cells: Sequence[Any]) -> list[Amount | None]:
    """What cells say of a price; the same text is read once."""
    read = {cell: read_amount(cell) for cell in set(cells) if isinstance(cell, str)}
    return [
        read[cell]
        if isinstance(cell, str)
        else None
        if is_missing(cell) or not isinstance(cell, int | float | Decimal)
        else Amount(Decimal(str(cell)))
        for cell in cells
    ]
