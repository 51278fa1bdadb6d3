"""Receipts: all that an answer follows from, and the answer, so that it can be given again.

A receipt holds what the model said of the scene, the embedding and the contexts of the categories
asked for, so that it depends on no server: what a server makes of the same picture differs in its
last bits with the company that a request is in.
"""

import base64
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple, Self, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog, Comparison, Condition, format_model_id
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CompleteLookError, ReceiptError
from completelook.ranking.calibration import Calibration
from completelook.ranking.match import Match, RankedScene
from completelook.ranking.ranking import RankOptions, categories_to_rank, rank_many, rank_scenes
from completelook.ranking.rules import Rules
from completelook.ranking.steering import NO_STEERING, Steering, steered_all
from completelook.ranking.variety import Variety
from completelook.triton import SceneEmbedding

_FORMAT = 1


class Place(NamedTuple):
    """What an answer said of one product."""

    id: str
    distance: float
    global_distance: float
    local_distance: float
    compatibility: float | None

    @classmethod
    def of(cls, match: Match) -> Self:
        """What a match says."""
        return cls(*(getattr(match, name) for name in cls._fields))


# Arrays have no one truth value, so receipts compare by identity.
@dataclass(frozen=True, eq=False)
class Receipt:
    """What an answer follows from, and the answer."""

    scene: str  # its picture's path or URL
    picture: str | None  # SHA-256 of its tensor, where it was embedded by this client
    model_id: int
    catalog: str  # its location
    catalog_digest: str | None  # None of a catalog that has none, as in Milvus
    options: RankOptions  # all of them, conditions parsed
    calibration: Calibration | None
    embedding: NDArray[np.float32]  # [128]
    contexts: Mapping[str, NDArray[np.float32]]  # [128] of each category asked for, as steered
    answer: Mapping[str, Sequence[Place]]
    software: str  # the version that gave the answer

    def as_json(self) -> str:
        """The receipt as one line."""
        categories = [
            {"category": name, "context": _text(self.contexts[name]), "matches": places}
            for name, places in self.answer.items()
        ]
        content = {
            "receipt": _FORMAT,
            "software": self.software,
            "scene": self.scene,
            "picture": self.picture,
            "model_id": format_model_id(self.model_id),
            "catalog": self.catalog,
            "catalog_digest": self.catalog_digest,
            "options": {name: _KEPT[name][0](each) for name, each in self.options.items()},
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "embedding": _text(self.embedding),
            "categories": categories,
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `as_json` wrote. Raises ReceiptError."""
        try:
            content = json.loads(text)
            if content["receipt"] != _FORMAT:
                raise ReceiptError(f"a receipt of format {content['receipt']}, expected {_FORMAT}")
            options = {name: _KEPT[name][1](each) for name, each in content["options"].items()}
            calibration = content["calibration"]
            return cls(
                scene=content["scene"],
                picture=content["picture"],
                model_id=int(content["model_id"], base=16),
                catalog=content["catalog"],
                catalog_digest=content["catalog_digest"],
                options=cast(RankOptions, options),
                calibration=calibration and Calibration.from_json(json.dumps(calibration)),
                embedding=_array(content["embedding"]),
                contexts={
                    each["category"]: _array(each["context"]) for each in content["categories"]
                },
                answer={
                    each["category"]: tuple(Place(*place) for place in each["matches"])
                    for each in content["categories"]
                },
                software=content["software"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, CompleteLookError):
                raise ReceiptError(f"a receipt whose options make no sense: {error}") from error
            raise ReceiptError(
                f"no receipt ({type(error).__name__}: {error}): expected a line as `completelook "
                "rank --receipts FILE` writes it"
            ) from error


def rank_photos(
    photos: Sequence[tuple[str, SceneEmbedding]],
    catalog: Catalog,
    categories: Sequence[str] = (),
    *,
    calibration: Calibration | None = None,
    **options: Unpack[RankOptions],
) -> list[RankedScene]:
    """What `rank_scenes` finds for scenes, each with its path or URL, and a receipt of each."""
    info = catalog.info  # Before: a receipt may tell of an older catalog, never of a newer one.
    given = cast(RankOptions, _DEFAULTS | options)
    given["where"] = catalog.conditions(given["where"])
    scenes = steered_all([scene for _, scene in photos], options.pop("steering", NO_STEERING))
    names = categories_to_rank(catalog, categories)
    found = rank_scenes(scenes, catalog, names, calibration=calibration, **options)
    rows = {name: info.categories.resolve(name) for name in names}
    return [
        RankedScene(
            source=source,
            embedding=scene,
            matches=matches,
            receipt=Receipt(
                scene=source,
                picture=scene.picture,
                model_id=scene.model_id,
                catalog=info.location,
                catalog_digest=info.digest,
                options=given,
                calibration=calibration,
                embedding=scene.embedding,
                contexts={name: scene.contexts[row] for name, row in rows.items()},
                answer={name: tuple(map(Place.of, own)) for name, own in matches.items()},
                software=_software(),
            ),
        )
        for (source, _), scene, matches in zip(photos, scenes, found, strict=True)
    ]


@cache
def _software() -> str:
    return version("completelook")


def _text(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _array(text: str) -> NDArray[np.float32]:
    vector = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    if vector.shape != (EMBEDDING_SIZE,) or not np.isfinite(vector).all():
        raise ValueError(f"an embedding of {len(vector)} numbers, or one that is not finite")
    return vector


def _kept_conditions(where: Sequence[Any]) -> list[Any]:
    return [
        [each.column, each.comparison, _kept_value(each.value)]
        if isinstance(each, Condition)
        else str(each)
        for each in where
    ]


def _conditions(kept: Sequence[Any]) -> tuple[Condition, ...]:
    for each in kept:
        if isinstance(each, str):
            raise ReceiptError(
                f"the condition {each} was an expression of pyarrow, of which a receipt keeps the "
                "text alone: only answers under conditions such as 'price<50' can be replayed"
            )
    return tuple(
        Condition(column, Comparison(comparison), _value(value))
        for column, comparison, value in kept
    )


# JSON has no such types.
_TYPES: dict[str, tuple[type, Callable[[str], Any]]] = {
    "decimal": (Decimal, Decimal),
    "moment": (datetime, datetime.fromisoformat),  # before date, which each of them is
    "date": (date, date.fromisoformat),
}


def _kept_value(value: Any) -> Any:
    for name, (type_, _) in _TYPES.items():
        if isinstance(value, type_):
            return {name: value.isoformat() if isinstance(value, date) else str(value)}
    return value


def _value(kept: Any) -> Any:
    if isinstance(kept, dict):
        [(name, text)] = kept.items()
        return _TYPES[name][1](text)
    return kept


def _as_it_is(value: Any) -> Any:
    return value


# How each option is written as JSON, and read.
_KEPT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "top": (_as_it_is, _as_it_is),
    "min_compatibility": (_as_it_is, _as_it_is),
    "where": (_kept_conditions, _conditions),
    "variety": (asdict, lambda kept: Variety(**kept)),
    "steering": (asdict, lambda kept: Steering(**kept)),
    "rules": (Rules.as_mapping, lambda kept: Rules.of(kept, source="the receipt")),
}
_DEFAULTS = {name: inspect.signature(rank_many).parameters[name].default for name in _KEPT}
