"""What both clients make of answers: stacked embeddings, ranks by category."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog
from completelook.contract import EMBED_PRODUCT
from completelook.errors import ContractError, NotCalibrated, UsageError
from completelook.ranking import Calibration, Match, compatible, rank
from completelook.triton import ProductEmbedding, SceneEmbedding


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
) -> Mapping[str, list[Match]]:
    """The best matches by category. Raises ModelMismatch, NotCalibrated, UsageError."""
    catalog.require_model(scene.model_id, server)
    if min_compatibility is not None:
        _require_compatibility(min_compatibility, calibration, server)
    ranked = {name: rank(scene, catalog, name, top=top, calibration=calibration) for name in names}
    return {name: compatible(ranked[name], min_compatibility) for name in names}


def _require_compatibility(minimum: float, calibration: Calibration | None, server: str) -> None:
    """Raises UsageError for what is no compatibility, NotCalibrated where there is none to have."""
    if not 0 <= minimum <= 1:
        raise UsageError(f"min_compatibility is {minimum}, expected a number from 0 to 1")
    if calibration is None:
        raise NotCalibrated(
            f"the model at {server} is not calibrated, so no product has a compatibility: run "
            "`completelook-build calibrate` and `completelook-build export`, and restart the server"
        )
