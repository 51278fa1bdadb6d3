"""Replay: an answer given again from its receipt, and which parts are no longer as they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from completelook.catalog import Catalog, format_model_id
from completelook.contract import EMBEDDING_SIZE
from completelook.errors import CompleteLookError, ImageError
from completelook.images import ANY_PICTURE, PicturePolicy, load_image, tensor_digest
from completelook.ranking.look import Looks, complete
from completelook.ranking.match import Ranking
from completelook.ranking.ranking import rank_scene
from completelook.ranking.receipts.receipt import Place, Receipt, places_of_looks
from completelook.ranking.steering import NO_STEERING
from completelook.triton import SceneEmbedding


@dataclass(frozen=True)
class Replay:
    """What came of a receipt."""

    answer: Mapping[str, Ranking] | Looks | None  # the one of today, where there is one
    changed: tuple[str, ...]  # parts that are no longer as they were, or that nobody can tell
    differences: tuple[str, ...]  # none where the answer is the same bit for bit

    @property
    def is_same(self) -> bool:
        """Whether the answer is given again, bit for bit."""
        return not self.differences


def replay(receipt: Receipt, catalog: Catalog) -> Replay:
    """Give an answer again: what the model said of the scene is in the receipt.

    Raises CatalogError where the catalog cannot be read.
    """
    changed = _changed_catalog(receipt, catalog)
    if catalog.model_id != receipt.model_id:
        was, now = format_model_id(receipt.model_id), format_model_id(catalog.model_id)
        model = f"the model: {was} gave the answer, the catalog is of {now}"
        return Replay(None, (*changed, model), ("cannot be given by another model's catalog",))
    try:
        answer, places = _given(receipt, catalog)
    except CompleteLookError as error:
        return Replay(None, changed, (f"cannot be given: {error}",))
    differences = tuple(
        f"{name}: {difference}"
        for name, was in receipt.answer.items()
        for difference in _differences(was, places.get(name, ()))
    )
    return Replay(answer, changed, differences)


def changed_picture(
    receipt: Receipt, source: str | None = None, *, policy: PicturePolicy = ANY_PICTURE
) -> str | None:
    """What is no longer as it was of the scene's picture, or of one in another place."""
    source = source or receipt.scene
    if receipt.picture is None:
        return f"the picture: nobody knows which one was embedded for {receipt.scene}"
    try:
        digest = tensor_digest(load_image(source, policy))
    except ImageError as error:
        return f"the picture: {error}"
    return None if digest == receipt.picture else f"the picture: {source} holds another one now"


def _changed_catalog(receipt: Receipt, catalog: Catalog) -> tuple[str, ...]:
    info = catalog.info
    if info.digest is None or receipt.catalog_digest is None:
        return (f"the catalog: {info.location} does not tell whether it has changed",)
    if info.digest != receipt.catalog_digest:
        return (f"the catalog: {info.location} has changed since",)
    return ()


def _given(
    receipt: Receipt, catalog: Catalog
) -> tuple[Mapping[str, Ranking] | Looks, Mapping[str, Sequence[Place]]]:
    """The answer of today, and what it says."""
    names = catalog.categories.names
    contexts = np.zeros((len(names), EMBEDDING_SIZE), np.float32)  # [C, 128]
    for name, context in receipt.contexts.items():
        contexts[catalog.categories.resolve(name)] = context
    scene = SceneEmbedding(receipt.embedding, contexts, receipt.model_id)
    # The contexts are those of the scene as it was steered.
    options: dict[str, Any] = {**receipt.options, "steering": NO_STEERING}
    categories, calibration = [*receipt.contexts], receipt.calibration
    if receipt.kind == "look":
        looks = complete(scene, catalog, categories, calibration=calibration, **options)
        return looks, places_of_looks(looks)
    found = rank_scene(scene, catalog, categories, calibration=calibration, **options)
    return found, {name: tuple(map(Place.of, own)) for name, own in found.items()}


def _differences(was: Sequence[Place], now: Sequence[Place]) -> list[str]:
    """Where an answer differs from what it was, in words."""
    told = [
        f"place {place} was {before.id} at {before.distance!r}, is {after.id} at {after.distance!r}"
        for place, (before, after) in enumerate(zip(was, now, strict=False), start=1)
        if before != after
    ]
    if len(was) != len(now):
        told.append(f"had {len(was)} products, has {len(now)}")
    return told
