"""Ranking: the products of a catalog, most compatible with a scene first.

With unit vectors and an attention that sums to 1, the paper's sum over regions collapses to

    d(s, p) = (d_global + d_local) / 2 = 2 - q_c . f_p      with   q_c = f_s + sum_i a_i(c) f_i
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog
from completelook.errors import CategoryError, ContractError, NotCalibrated, UsageError
from completelook.ranking.calibration import Calibration
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


def rank(
    scene: SceneEmbedding,
    catalog: Catalog,
    category: str,
    *,
    top: int = 10,
    calibration: Calibration | None = None,
) -> list[Match]:
    """The `top` products of one category nearest to a scene; equal distances in the order of ids.

    The catalog and the calibration must be of the scene's model, see `Catalog.require_model`.

    Raises CategoryError, ContractError for a scene whose embedding is not finite, CatalogError for
    such a product, and UsageError for a `top` below 1.
    """
    row = catalog.categories.resolve(category)
    name = catalog.categories.names[row]
    context = scene.contexts[row]
    query = scene.embedding + context  # [128]
    if not np.isfinite(query).all():
        raise ContractError(
            f"the scene's embedding for {name!r} is not finite: export the model again with "
            "`completelook-build export` and restart the server"
        )
    hits = catalog.search(query, name, top=top)

    embeddings = hits.embeddings.astype(np.float64)  # [k, 128]
    global_distances = _squared_distances(embeddings, scene.embedding)  # [k]
    local_distances = _squared_distances(embeddings, context)  # [k]
    distances = (global_distances + local_distances) / 2  # [k]
    compatibilities = _compatibilities(calibration, distances)  # [k]
    # Hits come in the order of their ids, and a stable sort keeps it among equals.
    order = np.argsort(distances, kind="stable")[:top]  # [top]
    return [
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


def rank_scene(
    scene: SceneEmbedding,
    catalog: Catalog,
    categories: Sequence[str] = (),
    *,
    top: int = 10,
    min_compatibility: float | None = None,
    calibration: Calibration | None = None,
) -> dict[str, list[Match]]:
    """What `rank` finds in each of some categories, by their full names.

    Without categories: in each that the model knows and the catalog holds. With a
    `min_compatibility`, in 0..1, only products at or above it, which may be none.

    Raises what `rank` raises, UsageError, and NotCalibrated for a minimum without a calibration.
    """
    require_options(top=top, min_compatibility=min_compatibility)
    if min_compatibility is not None and calibration is None:
        raise NotCalibrated(
            f"the model of {catalog.info.location} is not calibrated, so no product has a "
            "compatibility: run `completelook-build calibrate` and `completelook-build export`, "
            "and restart the server"
        )
    return {
        name: compatible(
            rank(scene, catalog, name, top=top, calibration=calibration), min_compatibility
        )
        for name in categories_to_rank(catalog, categories)
    }


def require_options(*, top: int, min_compatibility: float | None) -> None:
    """Raises UsageError for options of `rank_scene` that make no sense whatever the scene."""
    if top < 1:
        raise UsageError(f"top is {top}, expected at least 1")
    # Written so that NaN fails.
    if min_compatibility is not None and not 0 <= min_compatibility <= 1:
        raise UsageError(f"min_compatibility is {min_compatibility}, expected a number from 0 to 1")


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
