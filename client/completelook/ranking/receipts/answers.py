"""Answers that carry a receipt: what the clients give."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any, Unpack

from completelook.catalog import Catalog, CatalogInfo
from completelook.ranking.calibration import Calibration
from completelook.ranking.look import LookOptions, Looks, complete
from completelook.ranking.match import RankedScene
from completelook.ranking.ranking import RankOptions, categories_to_rank, rank_many, rank_scenes
from completelook.ranking.receipts.options import all_options
from completelook.ranking.receipts.receipt import Kind, Place, Receipt, places_of_looks
from completelook.ranking.steering import NO_STEERING, steered, steered_all
from completelook.triton import SceneEmbedding


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
    given = _given(rank_many, catalog, options)
    scenes = steered_all([scene for _, scene in photos], options.pop("steering", NO_STEERING))
    names = categories_to_rank(catalog, categories)
    found = rank_scenes(scenes, catalog, names, calibration=calibration, **options)
    ranked = []
    for (source, _), scene, matches in zip(photos, scenes, found, strict=True):
        answer = {name: tuple(map(Place.of, own)) for name, own in matches.items()}
        receipt = _receipt("rank", source, scene, info, names, given, calibration, answer)
        ranked.append(RankedScene(source, scene, matches, receipt))
    return ranked


def complete_photo(
    source: str,
    scene: SceneEmbedding,
    catalog: Catalog,
    categories: Sequence[str] = (),
    *,
    calibration: Calibration | None = None,
    **options: Unpack[LookOptions],
) -> Looks:
    """What `complete` finds for a scene with a path or URL, and its receipt."""
    info = catalog.info
    given = _given(complete, catalog, options)
    scene = steered(scene, options.pop("steering", NO_STEERING))
    asked = categories_to_rank(catalog, categories)
    looks = complete(scene, catalog, asked, calibration=calibration, **options)
    # What must be in it may have brought other categories.
    names = list(dict.fromkeys([*asked, *(each.category for each in looks.looks[0].matches)]))
    answer = places_of_looks(looks)
    receipt = _receipt("look", source, scene, info, names, given, calibration, answer)
    return replace(looks, receipt=receipt)


def _given(function: Any, catalog: Catalog, options: Mapping[str, Any]) -> dict[str, Any]:
    given = all_options(function, options)
    return given | {"where": catalog.conditions(given["where"])}


def _receipt(
    kind: Kind,
    source: str,
    scene: SceneEmbedding,
    info: CatalogInfo,
    names: Sequence[str],
    options: Mapping[str, Any],
    calibration: Calibration | None,
    answer: Mapping[str, Sequence[Place]],
) -> Receipt:
    return Receipt(
        kind=kind,
        scene=source,
        picture=scene.picture,
        model_id=scene.model_id,
        catalog=info.location,
        catalog_digest=info.digest,
        options=options,
        calibration=calibration,
        embedding=scene.embedding,
        contexts={name: scene.contexts[info.categories.resolve(name)] for name in names},
        answer=answer,
        software=_software(),
    )


@cache
def _software() -> str:
    return version("completelook")
