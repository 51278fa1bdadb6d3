"""Ranking: the products of a catalog, most compatible with a scene first.

With unit vectors and an attention that sums to 1, the paper's sum over regions collapses to

    d(s, p) = (d_global + d_local) / 2 = 2 - q_c . f_p      with   q_c = f_s + sum_i a_i(c) f_i
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog, Filter, Hits, Where, is_missing
from completelook.errors import CategoryError, ContractError, NotCalibrated, UsageError
from completelook.ranking.calibration import Calibration
from completelook.ranking.steering import NO_STEERING, Steering, steered_all
from completelook.ranking.variety import NO_VARIETY, Variety, diversified, folded
from completelook.triton import SceneEmbedding


@dataclass(frozen=True)
class Match:
    """A product in its place for a scene; distances lie in [0, 4], smaller is more compatible."""

    rank: int  # from 1
    id: str
    category: str
    image: str  # a URL or a full path
    distance: float  # the mean of the two that follow
    global_distance: float  # to the scene as a whole
    local_distance: float  # to the regions the category attends to
    compatibility: float | None  # in [0, 1], larger is better; None of a model not calibrated
    product: Mapping[str, Any] = field(default_factory=dict, hash=False)  # the shop's own columns
    folded: tuple[str, ...] = ()  # ids it stands for, of those nearer than the next one shown

    def shown(self, columns: Sequence[str]) -> dict[str, Any]:
        """What the product has in some columns, see `Catalog.columns_to_show`."""
        return {column: self.product.get(column) for column in columns}


# Arrays have no one truth value, so ranked scenes compare by identity.
@dataclass(frozen=True, eq=False)
class RankedScene:
    """A scene and the products found for it, by the full name of their category."""

    source: str  # its picture's path or URL
    embedding: SceneEmbedding
    matches: Mapping[str, list[Match]]


class RankOptions(TypedDict, total=False):
    """What every way to rank may be told beside scene, catalog and category."""

    top: int  # products of each category, 10 where nothing is said
    min_compatibility: float | None  # in 0..1: only products at or above it, which may be none
    where: Sequence[Where]  # only products that meet all of these, such as `price<50`
    variety: Variety  # how products that are alike share the places
    steering: Steering  # which parts of the scene count


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
    calibration: Calibration | None = None,
) -> list[Match]:
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
    calibration: Calibration | None = None,
) -> list[list[Match]]:
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
    # What the first question gives is all of the answer, unless many products stand for others.
    found = search.nearest(scenes, variety.pool(top) + variety.folds)
    return [
        _varied(_leaders(search, scene, first, top, min_compatibility, variety), top, variety)
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
        groups = [_group(match, variety.group_by) for match in nearest]
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
        row = self.catalog.categories.resolve(self.category)
        name = self.catalog.categories.names[row]
        queries = np.array([scene_query(scene, row, name) for scene in scenes])  # [s, 128]
        found = []
        many = self.catalog.search_many(queries, name, top=count, where=self.where)
        for scene, hits in zip(scenes, many, strict=True):
            matches, order = matched(scene, row, hits, self.calibration)
            embeddings = hits.embeddings[order[:count]].astype(np.float64)  # [n, 128]
            found.append((matches[:count], embeddings))
        return found


def matched(
    scene: SceneEmbedding, row: int, hits: Hits, calibration: Calibration | None
) -> tuple[list[Match], NDArray[np.intp]]:
    """Products as they are ranked for the category in a row of a scene's contexts, and their order.

    They come in the order of their ids, and equals stay so.
    """
    embeddings = hits.embeddings.astype(np.float64)  # [n, 128]
    global_distances = _squared_distances(embeddings, scene.embedding)  # [n]
    local_distances = _squared_distances(embeddings, scene.contexts[row])  # [n]
    distances = (global_distances + local_distances) / 2  # [n]
    compatibilities = _compatibilities(calibration, distances)  # [n]
    order = np.argsort(distances, kind="stable")  # [n]
    matches = [
        Match(
            rank=place,
            id=product.id,
            category=product.category,
            image=product.image,
            distance=float(distances[index]),
            global_distance=float(global_distances[index]),
            local_distance=float(local_distances[index]),
            compatibility=compatibilities[index],
            product=product.columns,
        )
        for place, index in enumerate(order, start=1)
        for product in [hits.products[index]]
    ]
    return matches, order


def scene_query(scene: SceneEmbedding, row: int, name: str) -> NDArray[np.float32]:
    """The query [128] of a scene for the category in a row of its contexts: d = 2 - query . f_p.

    Raises ContractError for a scene whose embedding is not finite.
    """
    query: NDArray[np.float32] = scene.embedding + scene.contexts[row]  # [128]
    if not np.isfinite(query).all():
        raise ContractError(
            f"the scene's embedding for {name!r} is not finite: export the model again with "
            "`completelook-build export` and restart the server"
        )
    return query


def rank_scene(
    scene: SceneEmbedding,
    catalog: Catalog,
    categories: Sequence[str] = (),
    *,
    calibration: Calibration | None = None,
    **options: Unpack[RankOptions],
) -> dict[str, list[Match]]:
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
) -> list[dict[str, list[Match]]]:
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


def _compatibilities(
    calibration: Calibration | None, distances: NDArray[np.float64]
) -> Sequence[float | None]:
    if calibration is None:
        return [None] * len(distances)
    return [float(value) for value in calibration.compatibility(distances)]


def _squared_distances(
    embeddings: NDArray[np.float64], vector: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Attention-weighted mean squared distances to unit vectors [k, 128], [k].

    Summed row by row, so that equal embeddings get equal distances to the last bit.
    """
    return np.asarray(2 - 2 * (embeddings * vector).sum(axis=1))


def _group(match: Match, column: str | None) -> Hashable | None:
    """What a product's group is called; None where it has none."""
    value = None if column is None else match.product.get(column)
    if is_missing(value):
        return None
    return value if isinstance(value, Hashable) else str(value)
