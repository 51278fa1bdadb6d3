"""Receipts: all that an answer follows from, and the answer, so that it can be given again.

A receipt holds what the model said of the scene, the embedding and the contexts of the categories
asked for, so that it depends on no server: what a server makes of the same picture differs in its
last bits with the company that a request is in.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import format_model_id
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CompleteLookError, ReceiptError
from completelook.ranking.calibration import Calibration
from completelook.ranking.look import Looks
from completelook.ranking.match import Match
from completelook.ranking.receipts.options import options_as_json, options_from_json

_FORMAT = 1

Kind = Literal["rank", "look"]
_KINDS: dict[str, Kind] = {"rank": "rank", "look": "look"}


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


def places_of_looks(looks: Looks) -> dict[str, tuple[Place, ...]]:
    """What an answer of looks said: the best ones, and what a larger budget would buy."""
    named = {f"look {place}": look for place, look in enumerate(looks.looks, start=1)}
    if looks.with_more is not None:
        named["for a larger budget"] = looks.with_more
    return {name: tuple(map(Place.of, look.matches)) for name, look in named.items()}


# Arrays have no one truth value, so receipts compare by identity.
@dataclass(frozen=True, eq=False)
class Receipt:
    """What an answer follows from, and the answer."""

    kind: Kind
    scene: str  # its picture's path or URL
    picture: str | None  # SHA-256 of its tensor, where it was embedded by this client
    model_id: int
    catalog: str  # its location
    catalog_digest: str | None  # None of a catalog that has none, as in Milvus
    options: Mapping[str, Any]  # all of them, conditions parsed
    calibration: Calibration | None
    embedding: NDArray[np.float32]  # [128]
    contexts: Mapping[str, NDArray[np.float32]]  # [128] of each category asked for, as steered
    answer: Mapping[str, Sequence[Place]]  # by category; of looks one after the other
    software: str  # the version that gave the answer

    def as_json(self) -> str:
        """The receipt as one line."""
        content = {
            "receipt": _FORMAT,
            "kind": self.kind,
            "software": self.software,
            "scene": self.scene,
            "picture": self.picture,
            "model_id": format_model_id(self.model_id),
            "catalog": self.catalog,
            "catalog_digest": self.catalog_digest,
            "options": options_as_json(self.options),
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "embedding": _text(self.embedding),
            "contexts": {name: _text(each) for name, each in self.contexts.items()},
            "answer": self.answer,
        }
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `as_json` wrote, or an answer of the HTTP service that holds it.

        Raises ReceiptError.
        """
        try:
            content = json.loads(text)
            if isinstance(content["receipt"], dict):
                content = content["receipt"]
            if content["receipt"] != _FORMAT:
                raise ReceiptError(f"a receipt of format {content['receipt']}, expected {_FORMAT}")
            calibration = content["calibration"]
            return cls(
                kind=_KINDS[content["kind"]],
                scene=content["scene"],
                picture=content["picture"],
                model_id=int(content["model_id"], base=16),
                catalog=content["catalog"],
                catalog_digest=content["catalog_digest"],
                options=options_from_json(content["options"]),
                calibration=calibration and Calibration.from_json(json.dumps(calibration)),
                embedding=_array(content["embedding"]),
                contexts={name: _array(each) for name, each in content["contexts"].items()},
                answer={
                    name: tuple(Place(*place) for place in places)
                    for name, places in content["answer"].items()
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


def _text(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _array(text: str) -> NDArray[np.float32]:
    vector = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    if vector.shape != (EMBEDDING_SIZE,) or not np.isfinite(vector).all():
        raise ValueError(f"an embedding of {len(vector)} numbers, or one that is not finite")
    return vector
