"""Matches: products in their places for a scene, and their distances, exact and in closed form."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Hits, is_missing
from completelook.errors import ContractError
from completelook.ranking.calibration import Calibration
from completelook.ranking.notebook import ranking_html, scene_html
from completelook.triton import SceneEmbedding

if TYPE_CHECKING:
    from completelook.ranking.receipts import Receipt
    from completelook.ranking.rules import Ledger


# A distance, its two parts, and the compatibility.
_Said = tuple[float, float, float, float | None]

_AT_ONCE = 4096  # products whose distances are worked out together


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
    model_rank: int | None = None  # under rules: its rank by distance alone, where that is known
    moved_by: tuple[str, ...] = ()  # the rules without which it would not be where it is

    def shown(self, columns: Sequence[str]) -> dict[str, Any]:
        """What the product has in some columns, see `Catalog.columns_to_show`."""
        return {column: self.product.get(column) for column in columns}


class Ranking(list[Match]):
    """The products of a category for a scene, in the order they are shown."""

    ledger: "Ledger | None" = None  # under rules: what these have changed

    def _repr_html_(self) -> str:
        return ranking_html(self)


# Arrays have no one truth value, so ranked scenes compare by identity.
@dataclass(frozen=True, eq=False)
class RankedScene:
    """A scene and the products found for it, by the full name of their category."""

    source: str  # its picture's path or URL
    embedding: SceneEmbedding  # as it was steered
    matches: Mapping[str, Ranking]
    receipt: "Receipt | None" = field(
        default=None, repr=False
    )  # of every answer that a client gives

    def _repr_html_(self) -> str:
        return scene_html(self)

    @property
    def ledgers(self) -> "dict[str, Ledger]":
        """What a shop's rules have changed, by category; of those for which there are any."""
        found = {name: matches.ledger for name, matches in self.matches.items()}
        return {name: ledger for name, ledger in found.items() if ledger is not None}


def matched(
    scene: SceneEmbedding, row: int, hits: Hits, calibration: Calibration | None
) -> tuple[list[Match], NDArray[np.intp]]:
    """Products as they are ranked for the category in a row of a scene's contexts, and their order.

    They come in the order of their ids, and equals stay so.
    """
    return matched_each([scene], row, [hits], calibration)[0]


def matched_each(
    scenes: Sequence[SceneEmbedding],
    row: int,
    many: Sequence[Hits],
    calibration: Calibration | None,
) -> list[tuple[list[Match], NDArray[np.intp]]]:
    """`matched` for each scene and its products, many distances worked out at once."""
    found: list[tuple[list[Match], NDArray[np.intp]]] = []
    most = max([1, *(len(hits.embeddings) for hits in many)])
    at_once = max(1, _AT_ONCE // most)
    for start in range(0, len(scenes), at_once):
        group = scenes[start : start + at_once], many[start : start + at_once]
        found += _matched_at_once(*group, row, calibration)
    return found


def _matched_at_once(
    scenes: Sequence[SceneEmbedding],
    many: Sequence[Hits],
    row: int,
    calibration: Calibration | None,
) -> Iterator[tuple[list[Match], NDArray[np.intp]]]:
    counts = [len(hits.embeddings) for hits in many]
    embeddings = np.concatenate([hits.embeddings for hits in many]).astype(np.float64)  # [n, 128]
    scene = np.repeat([each.embedding for each in scenes], counts, axis=0)  # [n, 128]
    context = np.repeat([each.contexts[row] for each in scenes], counts, axis=0)  # [n, 128]
    global_distances = _squared_distances(embeddings, scene)  # [n]
    local_distances = _squared_distances(embeddings, context)  # [n]
    distances = (global_distances + local_distances) / 2  # [n]
    said_of: Iterator[_Said] = zip(
        distances.tolist(),
        global_distances.tolist(),
        local_distances.tolist(),
        _compatibilities(calibration, distances),
        strict=True,
    )
    ends = np.cumsum(counts).tolist()
    for hits, end, count in zip(many, ends, counts, strict=True):
        order = np.argsort(distances[end - count : end], kind="stable")  # [k]
        own = [*zip(hits.products, islice(said_of, count), strict=True)]
        matches = [
            Match(place, one.id, one.category, one.image, mean, whole, parts, fit, one.columns)
            for place, index in enumerate(order.tolist(), start=1)
            for one, (mean, whole, parts, fit) in [own[index]]
        ]
        yield matches, order


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


def _compatibilities(
    calibration: Calibration | None, distances: NDArray[np.float64]
) -> Sequence[float | None]:
    if calibration is None:
        return [None] * len(distances)
    return [float(value) for value in calibration.compatibility(distances)]


def _squared_distances(
    embeddings: NDArray[np.float64], vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Attention-weighted mean squared distances of vectors to unit vectors, both [k, 128]: [k].

    Summed row by row, so that equal embeddings get equal distances to the last bit.
    """
    return np.asarray(2 - 2 * (embeddings * vectors).sum(axis=1))


def group_of(match: Match, column: str | None) -> Hashable | None:
    """What a product's group is called, by a column; None where it has none."""
    value = None if column is None else match.product.get(column)
    if is_missing(value):
        return None
    return value if isinstance(value, Hashable) else str(value)
