"""What an assortment lacks: scenes for which nothing of a category fits, and what would."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog
from completelook.products import Product
from completelook.ranking.calibration import Calibration
from completelook.ranking.gaps.cover import cover
from completelook.ranking.match import Match, RankedScene, scene_query

# Scenes ask for one style where their similarities to the products of the category, one by one,
# correlate with those of the style's middle at least so much.
ALIKE = 0.6
# Of a larger category the products nearest to what is asked for stand for all.
_MOST_PRODUCTS = 2000
# So many of the products that come nearest to fitting are told.
SHOWN = 6


@dataclass(frozen=True)
class Neighbor:
    """A product that comes near to fitting some scenes."""

    product: Product
    compatibility: float  # with these scenes, on average


@dataclass(frozen=True)
class StyleRegion:
    """Scenes that nothing fits and that ask for the same: they would rank the products alike."""

    scenes: tuple[str, ...]
    best_now: float  # the compatibility of the best product that there is for each, on average
    nearest: tuple[Neighbor, ...]  # the products that come nearest to fitting them all, best first

    @property
    def bounds(self) -> tuple[Neighbor, ...]:
        """The two products between which to look, but nearer to the scenes; one of one."""
        return self.nearest[:2]


@dataclass(frozen=True)
class Unmet:
    """A scene that nothing fits."""

    scene: str
    best: Match | None  # the product that comes nearest to fitting


@dataclass(frozen=True)
class CategoryGap:
    """How often nothing of a category fits."""

    category: str
    products: int  # that the catalog holds of it
    scenes: int  # looked at
    unmet: tuple[Unmet, ...]  # scenes that nothing fits, the worst first
    regions: tuple[StyleRegion, ...]  # what to buy, for the most scenes first
    out_of_reach: tuple[str, ...]  # of the unmet: the model sees no product whatever

    @property
    def rate(self) -> float:
        """The share of scenes that nothing fits, in [0, 1]."""
        return len(self.unmet) / self.scenes


def find_gaps(
    scenes: Sequence[RankedScene],
    catalog: Catalog,
    calibration: Calibration,
    *,
    min_compatibility: float,
) -> list[CategoryGap]:
    """The gaps of each category that scenes were ranked in; the most often unmet comes first.

    Of a scene's matches the first of each category counts. What fits has at least
    `min_compatibility`.
    """
    if not scenes:
        return []
    finder = _Finder(catalog, calibration, min_compatibility)
    gaps = [finder.gap(scenes, category) for category in scenes[0].matches]
    return sorted(gaps, key=lambda gap: -gap.rate)


@dataclass(frozen=True)
class _Finder:
    catalog: Catalog
    calibration: Calibration
    minimum: float

    def suits(self, distances: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether products at some distances fit."""
        return self.calibration.compatibility(distances) >= self.minimum

    def gap(self, scenes: Sequence[RankedScene], category: str) -> CategoryGap:
        """How often nothing of a category fits, and what would."""
        products = self.catalog.category_counts[category]
        unmet = [scene for scene in scenes if not self._is_met(scene.matches[category])]
        if not unmet:
            return CategoryGap(category, products, len(scenes), (), (), ())
        row = self.catalog.categories.resolve(category)
        queries = np.array(
            [scene_query(scene.embedding, row, category) for scene in unmet], np.float64
        )  # [n, 128]
        told = [Unmet(each.source, next(iter(each.matches[category]), None)) for each in unmet]
        # The nearest that any unit vector can be to a scene is 2 - |q|.
        can = self.suits(2 - np.linalg.norm(queries, axis=1))  # [n]
        reachable = np.flatnonzero(can)
        asking = [told[each] for each in reachable]
        return CategoryGap(
            category,
            products,
            len(scenes),
            tuple(sorted(told, key=_compatibility)),
            self._regions(category, asking, queries[reachable]) if asking else (),
            tuple(told[each].scene for each in np.flatnonzero(~can)),
        )

    def _is_met(self, matches: Sequence[Match]) -> bool:
        return bool(matches) and bool(self.suits(np.array(matches[0].distance)))

    def _regions(
        self, category: str, unmet: Sequence[Unmet], queries: NDArray[np.float64]
    ) -> tuple[StyleRegion, ...]:
        """Scenes with queries [n, 128] by what they ask for."""
        middle = queries.mean(axis=0).astype(np.float32)  # [128]
        hits = self.catalog.search(middle, category, top=_MOST_PRODUCTS)
        similarities = queries @ hits.embeddings.astype(np.float64).T  # [n, k]
        fits = self.calibration.compatibility(2 - similarities)  # [n, k]
        regions = []
        for spot in cover(_profiles(similarities), ALIKE):
            own = list(spot.members)
            # By distance, which still tells where the calibration is level.
            order = np.argsort(-similarities[own].mean(axis=0), kind="stable")[:SHOWN]
            regions.append(
                StyleRegion(
                    scenes=tuple(unmet[each].scene for each in own),
                    best_now=float(np.mean([_compatibility(unmet[each]) for each in own])),
                    nearest=tuple(
                        Neighbor(hits.products[place], float(fits[own, place].mean()))
                        for place in order.tolist()
                    ),
                )
            )
        return tuple(regions)


def _profiles(similarities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scenes by what they ask for: unit vectors whose products are correlations, [n, k].

    What all products have alike for a scene says nothing of what it asks for, so each row has a
    mean of 0. Where there is nothing else, as with one product, all ask for the same.
    """
    apart = similarities - similarities.mean(axis=1, keepdims=True)  # [n, k]
    lengths = np.linalg.norm(apart, axis=1, keepdims=True)  # [n, 1]
    is_level = lengths < 1e-9
    apart = np.where(is_level, 1.0, apart)
    return np.asarray(apart / np.linalg.norm(apart, axis=1, keepdims=True))


def _compatibility(unmet: Unmet) -> float:
    return 0.0 if unmet.best is None else unmet.best.compatibility or 0.0
