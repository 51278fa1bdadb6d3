"""Ranking: the products of a catalog, most compatible with a scene first.

With unit vectors and an attention that sums to 1, the paper's sum over regions collapses to

    d(s, p) = (d_global + d_local) / 2 = 2 - q_c . f_p      with   q_c = f_s + sum_i a_i(c) f_i
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog, Filter, Where
from completelook.errors import CategoryError, NotCalibrated, UsageError
from completelook.ranking.calibration import Calibration
from completelook.ranking.match import Match, Ranking, group_of, matched_each, scene_query
from completelook.ranking.rules import (
    NO_RULES,
    Candidates,
    CategoryRules,
    Rules,
    bind,
    require_rules,
    ruled,
)
from completelook.ranking.steering import NO_STEERING, Steering, steered_all
from completelook.ranking.variety import NO_VARIETY, Variety, diversified, folded
from completelook.triton import SceneEmbedding


class RankOptions(TypedDict, total=False):
    """What every way to rank may be told beside scene, catalog and category."""

    top: int  # products of each category, 10 where nothing is said
    min_compatibility: float | None  # in 0..1: only products at or above it, which may be none
    where: Sequence[Where]  # only products that meet all of these, such as `price<50`
    variety: Variety  # how products that are alike share the places
    steering: Steering  # which parts of the scene count
    rules: Rules  # what a merchandiser has laid down


# Nearest products, their embeddings, and the places of those that compete, each before the ones
# that it stands for.
_Leaders = tuple[list[Match], NDArray[np.float64], list[list[int]]]


def rank(
    scene: SceneEmbedding,
    catalog: Catalog,
    category: str,
    *,
    top: int = 10,
    min_compatibility: float | None = None,
    where: Sequence[Where] = (),
    variety: Variety = NO_VARIETY,
    steering: Steering = NO_STEERING,
    rules: Rules = NO_RULES,
    calibration: Calibration | None = None,
) -> Ranking:
    """What `rank_many` finds for one scene."""
    return rank_many(
        [scene],
        catalog,
        category,
        top=top,
        min_compatibility=min_compatibility,
        where=where,
        variety=variety,
        steering=steering,
        rules=rules,
        calibration=calibration,
    )[0]


def rank_many(
    scenes: Sequence[SceneEmbedding],
    catalog: Catalog,
    category: str,
    *,
    top: int = 10,
    min_compatibility: float | None = None,
    where: Sequence[Where] = (),
    variety: Variety = NO_VARIETY,
    steering: Steering = NO_STEERING,
    rules: Rules = NO_RULES,
    calibration: Calibration | None = None,
) -> list[Ranking]:
    """The `top` products of one category nearest to each scene; equal ones in the order of ids.

    The catalog and the calibration must be of the scene's model, see `Catalog.require_model`.
    Fewer come back where no more meet the conditions, are compatible enough, or stand for others.

    Raises CategoryError, ContractError for a scene whose embedding is not finite, CatalogError for
    such a product or an unknown column to group by, ConditionError, UsageError for a `top` below
    1 and for steering without regions, and NotCalibrated for a minimum without a calibration.
    """
    filters = require_options(
        catalog, top=top, min_compatibility=min_compatibility, where=where, variety=variety
    )
    if min_compatibility is not None and calibration is None:
        raise NotCalibrated(
            f"the model of {catalog.info.location} is not calibrated, so no product has a "
            "compatibility: run `completelook-build calibrate` and `completelook-build export`, "
            "and restart the server"
        )
    search = _Search(catalog, category, filters, calibration)
    scenes = steered_all(scenes, steering)
    if own := search.bound(rules):
        return search.ruled(scenes, own, top, min_compatibility, variety)
    # What the first question gives is all of the answer, unless many products stand for others.
    found = search.nearest(scenes, variety.pool(top) + variety.folds)
    return [
        Ranking(
            _varied(_leaders(search, scene, first, top, min_compatibility, variety), top, variety)
        )
        for scene, first in zip(scenes, found, strict=True)
    ]


def _varied(leaders_of: _Leaders, top: int, variety: Variety) -> list[Match]:
    nearest, embeddings, leaders = leaders_of
    if not (variety.folds or variety.diversity):
        return nearest[:top]
    order: Sequence[int] = range(min(top, len(leaders)))
    if variety.diversity:
        firsts = [leader[0] for leader in leaders]
        distances = np.array([nearest[first].distance for first in firsts])
        order = diversified(distances, embeddings[firsts], top=top, diversity=variety.diversity)
    return [
        replace(nearest[first], rank=rank, folded=tuple(nearest[other].id for other in others))
        for rank, (first, *others) in enumerate((leaders[place] for place in order), start=1)
    ]


def _leaders(
    search: "_Search",
    scene: SceneEmbedding,
    found: tuple[list[Match], NDArray[np.float64]],
    top: int,
    min_compatibility: float | None,
    variety: Variety,
) -> _Leaders:
    """Nearest products, their embeddings, and the places of those that compete, see `folded`.

    More and more of the nearest are asked for until enough of them stand for themselves.
    """
    most = variety.pool(top)
    count = most + variety.folds
    while True:
        nearest, embeddings = found
        nearest = compatible(nearest, min_compatibility)
        if not variety.folds:
            return nearest, embeddings, [[place] for place in range(len(nearest))]
        groups = [group_of(match, variety.group_by) for match in nearest]
        leaders = folded(groups, embeddings, duplicates=variety.fold_duplicates)
        if len(leaders) > most:
            end = leaders[most][0]
            kept = [[place for place in each if place < end] for each in leaders[:most]]
            return nearest, embeddings, kept
        if len(nearest) < count:
            return nearest, embeddings, leaders
        count *= 4
        (found,) = search.nearest([scene], count)


@dataclass(frozen=True)
class _Search:
    """One category of a catalog under conditions."""

    catalog: Catalog
    category: str
    where: tuple[Filter, ...]
    calibration: Calibration | None

    def nearest(
        self, scenes: Sequence[SceneEmbedding], count: int
    ) -> list[tuple[list[Match], NDArray[np.float64]]]:
        """The `count` nearest products to each scene and their embeddings, [n, 128]."""
        row, name, queries = self._queries(scenes)
        found = []
        many = self.catalog.search_many(queries, name, top=count, where=self.where)
        each = matched_each(scenes, row, many, self.calibration)
        for hits, (matches, order) in zip(many, each, strict=True):
            embeddings = hits.embeddings[order[:count]].astype(np.float64)  # [n, 128]
            found.append((matches[:count], embeddings))
        return found

    def bound(self, rules: Rules) -> CategoryRules | None:
        """The rules of this category, if any. Raises UsageError."""
        if not rules:
            return None
        row = self.catalog.categories.resolve(self.category)
        own = bind(rules, self.catalog, self.catalog.categories.names[row])
        return own if own.rules else None

    def ruled(
        self,
        scenes: Sequence[SceneEmbedding],
        rules: CategoryRules,
        top: int,
        min_compatibility: float | None,
        variety: Variety,
    ) -> list[Ranking]:
        """The products for each scene under rules, with their ledgers."""
        row, name, queries = self._queries(scenes)
        survey = self.catalog.survey(queries, name, where=self.where)
        return [
            ruled(
                Candidates(
                    survey,
                    place,
                    scene,
                    row,
                    rules,
                    count=variety.pool(top) + variety.folds,
                    calibration=self.calibration,
                    min_compatibility=min_compatibility,
                ),
                top=top,
                variety=variety,
            )
            for place, scene in enumerate(scenes)
        ]

    def _queries(self, scenes: Sequence[SceneEmbedding]) -> tuple[int, str, NDArray[np.float32]]:
        """The category's row and full name, and the scenes' queries for it, [s, 128]."""
        row = self.catalog.categories.resolve(self.category)
        name = self.catalog.categories.names[row]
        return row, name, np.array([scene_query(scene, row, name) for scene in scenes])


def rank_scene(
    scene: SceneEmbedding,
    catalog: Catalog,
    categories: Sequence[str] = (),
    *,
    calibration: Calibration | None = None,
    **options: Unpack[RankOptions],
) -> dict[str, Ranking]:
    """What `rank` finds in each of some categories, by their full names.

    Without categories: in each that the model knows and the catalog holds.

    Raises what `rank` raises.
    """
    return rank_scenes([scene], catalog, categories, calibration=calibration, **options)[0]


def rank_scenes(
    scenes: Sequence[SceneEmbedding],
    catalog: Catalog,
    categories: Sequence[str] = (),
    *,
    calibration: Calibration | None = None,
    **options: Unpack[RankOptions],
) -> list[dict[str, Ranking]]:
    """What `rank_scene` finds for each of some scenes, faster than one by one."""
    require_options(catalog, **options)
    if not scenes:
        return []
    # Once for all categories.
    scenes = steered_all(scenes, options.pop("steering", NO_STEERING))
    found = {
        name: rank_many(scenes, catalog, name, calibration=calibration, **options)
        for name in categories_to_rank(catalog, categories)
    }
    return [{name: found[name][place] for name in found} for place in range(len(scenes))]


def require_options(
    catalog: Catalog,
    *,
    top: int = 10,
    min_compatibility: float | None = None,
    where: Sequence[Where] = (),
    variety: Variety = NO_VARIETY,
    steering: Steering = NO_STEERING,  # noqa: ARG001 - makes sense by itself, or is none
    rules: Rules = NO_RULES,
) -> tuple[Filter, ...]:
    """The conditions, parsed; whatever the scene, the options must make sense for a catalog.

    Raises UsageError, ConditionError, and CatalogError for an unknown column to group by.
    """
    if top < 1:
        raise UsageError(f"top is {top}, expected at least 1")
    # Written so that NaN fails.
    if min_compatibility is not None and not 0 <= min_compatibility <= 1:
        raise UsageError(f"min_compatibility is {min_compatibility}, expected a number from 0 to 1")
    if variety.group_by is not None:
        catalog.columns_to_show([variety.group_by])
    require_rules(rules, catalog)
    return catalog.conditions(where)


def compatible(matches: Sequence[Match], min_compatibility: float | None) -> list[Match]:
    """The matches of a calibrated model at or above a compatibility; with None, all.

    A nearer product is never less compatible, so these are the first ones, and the same whether
    the ranking was cut at its top before or after.
    """
    if min_compatibility is None:
        return list(matches)
    return [
        match
        for match in matches
        if match.compatibility is not None and match.compatibility >= min_compatibility
    ]


def categories_to_rank(catalog: Catalog, wanted: Sequence[str]) -> list[str]:
    """The full names of the wanted categories; with none wanted, all that can be ranked.

    These are the ones the model knows and the catalog holds, in the model's order.

    Raises CategoryError.
    """
    names = catalog.categories.names
    if wanted:
        rows = dict.fromkeys(catalog.categories.resolve(name) for name in wanted)
        for row in rows:
            catalog.require_category(names[row])
        return [names[row] for row in rows]
    held = [name for name in names if name in catalog.category_counts]
    if not held:
        raise CategoryError(
            f"{catalog.info.location} holds none of its model's categories ({', '.join(names)}): "
            "index products of these"
        )
    return held
