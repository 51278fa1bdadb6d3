"""What a server's answers mean: embeddings, names, calibration, ranks; shared by both clients."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from completelook.catalog.arrow import Catalog
from completelook.contract import (
    CALIBRATION_PARAMETER,
    CATEGORIES_PARAMETER,
    EMBED_PRODUCT,
    EMBED_SCENE,
    EXPLAIN_SCENE,
    Model,
)
from completelook.errors import ContractError, NotCalibrated
from completelook.ranking.calibration import Calibration
from completelook.ranking.ranking import Match, compatible, rank
from completelook.triton.embeddings import ProductEmbedding, SceneEmbedding


@dataclass
class ServedModel:
    """What a client remembers of the model that answers, until another one does."""

    model_id: int | None = None
    categories: tuple[str, ...] | None = None
    calibration: Calibration | None = None
    calibration_is_read: bool = False  # where there is none, that is known as well

    def note_scene(self, scene: SceneEmbedding) -> None:
        """Note which model embedded a scene, by its id and by its number of contexts."""
        if self.categories is not None and len(self.categories) != len(scene.contexts):
            self._forget()
        self.note(scene.model_id)

    def note(self, model_id: int) -> None:
        """Forget names and calibration once an answer shows that another model gives it."""
        if self.model_id not in (None, model_id):
            self._forget()
        self.model_id = model_id

    def _forget(self) -> None:
        self.categories = None
        self.calibration_is_read = False


def scene_model(*, regions: bool) -> Model:
    """The ensemble that embeds a scene; every output of either is always asked for."""
    return EXPLAIN_SCENE if regions else EMBED_SCENE


def scene_embedding(answer: Mapping[str, NDArray[Any]]) -> SceneEmbedding:
    """A scene from the outputs of its ensemble."""
    return SceneEmbedding(
        embedding=answer["SCENE_EMBEDDING"],
        contexts=answer["CONTEXT_EMBEDDINGS"],
        model_id=int(answer["MODEL_ID"][0]),
        attention=answer.get("ATTENTION"),
        regions=answer.get("REGION_EMBEDDINGS"),
    )


def product_embedding(answer: Mapping[str, NDArray[Any]]) -> ProductEmbedding:
    """A product from the outputs of its ensemble."""
    return ProductEmbedding(
        embedding=answer["PRODUCT_EMBEDDING"], model_id=int(answer["MODEL_ID"][0])
    )


def stacked(products: Sequence[ProductEmbedding], server: str) -> NDArray[np.float32]:
    """The embeddings [N, 128] of products of one model. Raises ContractError for those of two."""
    if len({product.model_id for product in products}) > 1:
        raise ContractError(
            f"the model at {server} changed between two products, so their embeddings "
            "cannot be compared: embed them again"
        )
    if not products:
        return np.empty((0, EMBED_PRODUCT.outputs[0].shape[0]), np.float32)
    return np.stack([product.embedding for product in products])  # [N, 128]


def rank_categories(
    scene: SceneEmbedding,
    catalog: Catalog,
    names: Sequence[str],
    *,
    calibration: Calibration | None,
    server: str,
    top: int,
    min_compatibility: float | None,
) -> dict[str, list[Match]]:
    """The best matches by category. Raises ModelMismatch, NotCalibrated, ValueError."""
    catalog.require_model(scene.model_id, server)
    if min_compatibility is not None:
        _require_compatibility(min_compatibility, calibration, server)
    ranked = {name: rank(scene, catalog, name, top=top, calibration=calibration) for name in names}
    return {name: compatible(ranked[name], min_compatibility) for name in names}


def parse_categories(text: str | None, server: str) -> tuple[str, ...]:
    """The ordered category names in the scene model's parameter. Raises ContractError."""
    try:
        names = json.loads(text or "")
    except ValueError as exc:
        raise _unreadable_categories(server, text) from exc
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _unreadable_categories(server, text)
    return tuple(names)


def _unreadable_categories(server: str, text: str | None) -> ContractError:
    got = "none" if text is None else repr(text[:60])
    return ContractError(
        f"the configuration of {EMBED_SCENE.name} at {server} has {got} for its parameter "
        f"{CATEGORIES_PARAMETER!r}, expected a JSON list of names: export the model again with "
        "`completelook-build export` and restart the server"
    )


def parse_calibration(text: str | None, server: str) -> Calibration | None:
    """The calibration in the scene model's parameter, if any. Raises ContractError."""
    if text is None:
        return None
    try:
        return Calibration.from_json(text)
    except ValueError as exc:
        raise ContractError(
            f"the configuration of {EMBED_SCENE.name} at {server} has {text[:60]!r} for "
            f"its parameter {CALIBRATION_PARAMETER!r}, which is no calibration ({exc}): export the "
            "model again with `completelook-build export` and restart the server"
        ) from exc


def _require_compatibility(minimum: float, calibration: Calibration | None, server: str) -> None:
    """Raises ValueError for what is no compatibility, NotCalibrated where there is none to have."""
    if not 0 <= minimum <= 1:
        raise ValueError(f"min_compatibility is {minimum}, expected a number from 0 to 1")
    if calibration is None:
        raise NotCalibrated(
            f"the model at {server} is not calibrated, so no product has a compatibility: run "
            "`completelook-build calibrate` and `completelook-build export`, and restart the server"
        )
