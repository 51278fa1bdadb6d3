"""What an assortment lacks: scenes for which nothing of a category fits, and what would."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog
from completelook.products import Product
from completelook.ranking.calibration import Calibration
from completelook.ranking.gaps.cover import cover, reachable
from completelook.ranking.match import Match, RankedScene, scene_query

# Of so many products nearest to a region's center one is chosen as its other bound.
_CLOSEST = 50
# So many of them are told.
SHOWN = 6


@dataclass(frozen=True)
class Neighbor:
    """A product near a region of the style space."""

    product: Product
    apart: float  # its squared distance to the region's center, in [0, 4]
    compatibility: float  # with the region's scenes, on average


@dataclass(frozen=True, eq=False)
class StyleRegion:
    """Where in the style space a product would fit scenes that nothing fits now."""

    scenes: tuple[str, ...]  # which a product at the center would fit
    center: NDArray[np.float64]  # [128], of length 1
    compatibility: float  # of a product at the center with these scenes, on average
    best_now: float  # of the best product that there is for each, on average
    between: tuple[Neighbor, Neighbor] | None  # its bounds, the nearer one first; None of a single
    share: float  # where between them it lies: 0 at the first, 0.5 halfway
    nearest: tuple[Neighbor, ...]  # the products nearest to the center


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
    out_of_reach: tuple[str, ...]  # of the unmet: no product whatever would fit, as the model sees

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
        regions = []
        for spot in cover(queries, self.suits):
            own = list(spot.scenes)
            asking = [told[each] for each in own]
            regions.append(self._region(category, asking, queries[own], spot.center))
        beyond = np.flatnonzero(~reachable(queries, self.suits))
        return CategoryGap(
            category,
            products,
            len(scenes),
            tuple(sorted(told, key=_compatibility)),
            tuple(regions),
            tuple(told[each].scene for each in beyond),
        )

    def _is_met(self, matches: Sequence[Match]) -> bool:
        return bool(matches) and bool(self.suits(np.array(matches[0].distance)))

    def _region(
        self,
        category: str,
        unmet: Sequence[Unmet],
        queries: NDArray[np.float64],
        center: NDArray[np.float64],
    ) -> StyleRegion:
        """A region around a center [128] for scenes with queries [n, 128]."""
        hits = self.catalog.search(center.astype(np.float32), category, top=_CLOSEST)
        embeddings = hits.embeddings.astype(np.float64)  # [k, 128]
        apart = np.square(embeddings - center).sum(axis=1)  # [k]
        order = np.argsort(apart, kind="stable")[:_CLOSEST]  # [k]
        fits = self.calibration.compatibility(2 - queries @ embeddings[order].T)  # [n, k]
        neighbors = [
            Neighbor(hits.products[index], float(apart[index]), float(fit))
            for index, fit in zip(order.tolist(), fits.mean(axis=0), strict=True)
        ]
        other, share = _other_bound(embeddings[order], center)
        return StyleRegion(
            scenes=tuple(each.scene for each in unmet),
            center=center,
            compatibility=float(self.calibration.compatibility(2 - queries @ center).mean()),
            best_now=float(np.mean([_compatibility(each) for each in unmet])),
            between=None if other is None else (neighbors[0], neighbors[other]),
            share=share,
            nearest=tuple(neighbors[:SHOWN]),
        )


def _other_bound(
    embeddings: NDArray[np.float64], center: NDArray[np.float64]
) -> tuple[int | None, float]:
    """Which product, with the nearest one, bounds a center best, and where between them it lies.

    Of products with embeddings [k, 128], nearest first: the one for which the line from the nearest
    to it comes closest to the center. None where there is no other.
    """
    first, others = embeddings[0], embeddings[1:]
    lines = others - first  # [k - 1, 128]
    lengths = np.square(lines).sum(axis=1)  # [k - 1]
    if not lengths.any():
        return None, 0.0
    shares = (lines @ (center - first)) / np.where(lengths, lengths, 1)  # [k - 1]
    shares = shares.clip(0, 1)
    closest = first + shares[:, np.newaxis] * lines  # [k - 1, 128]
    apart = np.square(closest - center).sum(axis=1)  # [k - 1]
    best = int(np.argmin(np.where(lengths, apart, np.inf)))
    return best + 1, float(shares[best])


def _compatibility(unmet: Unmet) -> float:
    return 0.0 if unmet.best is None else unmet.best.compatibility or 0.0
