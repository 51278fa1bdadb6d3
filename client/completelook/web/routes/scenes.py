"""Questions about a scene: what suits it, which set of products, and its photo."""

import asyncio
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Request, Response

from completelook.ranking import (
    Calibration,
    categories_to_rank,
    complete_photo,
    rank_photos,
    require_look_options,
    require_options,
    steered,
)
from completelook.triton import SceneEmbedding
from completelook.web import answers
from completelook.web.json_answer import json_answer, tag_of, tagged
from completelook.web.problems import NOT_MODIFIED, documented, webp
from completelook.web.questions import (
    ExplainQuestion,
    LookQuestion,
    Question,
    RankQuestion,
    body_of,
    read,
)
from completelook.web.service import SceneGone, Service, products_of

router = APIRouter(prefix="/v1", tags=["scenes"])

Token = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
_ASKING = documented(400, 408, 410, 413, 415, 422, 429, 502, 503, 504)
_ALWAYS = "private, max-age=86400, immutable"


def service_of(request: Request) -> Service:
    """The service that answers a request."""
    service: Service = request.app.state.service
    return service


@router.post(
    "/rank",
    response_model=answers.RankAnswer,
    responses=_ASKING,
    openapi_extra=body_of(RankQuestion),
)
async def rank(request: Request) -> Response:
    """Rank the catalog's products for a scene, category by category."""
    service = service_of(request)
    question, photo = await read(request, RankQuestion)
    catalog, options = service.catalog, question.options(service.settings.rules)
    require_options(catalog, **options)  # What makes no sense costs no inference.
    names = categories_to_rank(catalog, question.category)
    asked = await _asked(service, question, photo)

    def answered() -> bytes:
        photos = [(asked.source, asked.scene)]
        (found,) = rank_photos(photos, catalog, names, calibration=asked.calibration, **options)
        return answers.ranked(asked.token, found)

    return json_answer(await asyncio.to_thread(answered))


@router.post(
    "/look",
    response_model=answers.LookAnswer,
    responses=_ASKING,
    openapi_extra=body_of(LookQuestion),
)
async def look(request: Request) -> Response:
    """Find one product a category, so that they suit the scene and one another."""
    service = service_of(request)
    question, photo = await read(request, LookQuestion)
    catalog, options = service.catalog, question.options()
    await asyncio.to_thread(require_look_options, catalog, **options)
    names = categories_to_rank(catalog, question.category)
    asked = await _asked(service, question, photo)

    def answered() -> bytes:
        source, scene, fit = asked.source, asked.scene, asked.calibration
        found = complete_photo(source, scene, catalog, names, calibration=fit, **options)
        return answers.looked(asked.token, scene.model_id, found)

    return json_answer(await asyncio.to_thread(answered))


@router.post(
    "/explain",
    response_model=answers.ExplainAnswer,
    responses=documented(404) | _ASKING,
    openapi_extra=body_of(ExplainQuestion),
)
async def explain(request: Request) -> Response:
    """Say what each part of a scene adds to the distance of some products."""
    service = service_of(request)
    question, photo = await read(request, ExplainQuestion)
    catalog, steering = service.catalog, question.steering()
    hits = await asyncio.to_thread(products_of, catalog, question.product)
    asked = await _asked(service, question, photo)

    def answered() -> dict[str, Any]:
        scene, fit = steered(asked.scene, steering), asked.calibration
        return answers.explained(asked.token, scene, hits, catalog.categories, fit)

    return json_answer(await asyncio.to_thread(answered))


@router.put("/scenes/{token}", status_code=204, responses=documented(410, 422))
async def share(request: Request, token: Token) -> Response:
    """Keep a scene and its photo, so that a link to it still works after a restart."""
    if not await asyncio.to_thread(service_of(request).scenes.share, token):
        raise SceneGone
    return Response(status_code=204)


@router.get(
    "/scenes/{token}/picture",
    response_class=Response,
    responses=webp() | NOT_MODIFIED | documented(410, 422),
)
async def picture(request: Request, token: Token) -> Response:
    """A scene's photo, shrunk, in WebP."""
    content = await asyncio.to_thread(service_of(request).scenes.photo, token)
    if content is None:
        raise SceneGone
    return tagged(request, content, "image/webp", tag_of(content), _ALWAYS)


class _Asked(NamedTuple):
    """What a question is about."""

    token: str
    source: str  # as its receipt names it
    scene: SceneEmbedding
    calibration: Calibration | None


async def _asked(service: Service, question: Question, photo: bytes | None) -> _Asked:
    if question.scene is not None:
        token, scene = question.scene, await service.scene_again(question.scene)
    else:
        if question.url is not None:
            photo = await service.download(question.url)
        assert photo is not None
        token, scene = await service.scene_of(photo)
    return _Asked(token, question.url or token, scene, await service.look.calibration())
