"""The page's routes: itself, at the state in its query; a photo for it; its files."""

import asyncio
from pathlib import PurePath

from fastapi import APIRouter, Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from completelook.errors import CompleteLookError, ImageError
from completelook.web.page.answer import Answer, answer
from completelook.web.page.bundle import bundle
from completelook.web.page.cards import last_part
from completelook.web.page.controls import offer_of
from completelook.web.page.state import State
from completelook.web.problems import meaning
from completelook.web.service import SceneGone, Service

router = APIRouter(include_in_schema=False)

PHOTO = "image"  # the form's field, as in the service's questions
_MOST_FIELDS = 1_000
_FOR_GOOD = "public, max-age=31536000, immutable"
_HEADERS = {
    "Cache-Control": "private, no-cache",
    # Pictures that the browser itself makes of a file are blobs; all else comes from here.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_GONE = "This photo is kept here no longer. Choose it again: all you have asked for stays."
_NO_PHOTO = "This file cannot be read as a photo. A JPEG, PNG or WebP will do."
_templates = Environment(
    loader=PackageLoader(__package__ or ""),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_templates.filters["last_part"] = last_part


@router.get("/")
async def page(request: Request) -> Response:
    """The page; its query is all that it shows."""
    service: Service = request.app.state.service
    state = State.of(request.query_params.multi_items())
    # Of a large catalog it takes half a second, once.
    await asyncio.to_thread(offer_of, service.catalog)
    if not state.scene:
        return _page(service, state)
    try:
        scene = await service.scene_again(state.scene)
        return _page(service, state, await answer(service, scene, state))
    except SceneGone:
        return _page(service, state.of_photo("", state.room), problem=_GONE)
    except CompleteLookError as error:
        return _failed(request, state, error)


@router.post("/")
async def photo(request: Request) -> Response:
    """Take a photo, and lead to the page about it; the query is the state so far."""
    service: Service = request.app.state.service
    # Of a file that is chosen and one that a camera takes, a form without scripts sends both.
    async with request.form(max_files=2, max_fields=_MOST_FIELDS) as form:
        files = [each for each in form.getlist(PHOTO) if isinstance(each, UploadFile)]
        upload = next((each for each in files if each.size), None)
        content, name = (await upload.read(), upload.filename or "") if upload else (b"", "")
    state = State.of(request.query_params.multi_items())
    try:
        token, _ = await service.scene_of(content)
    except CompleteLookError as error:
        return _failed(request, state, error)
    state = state.of_photo(token, PurePath(name.replace("\\", "/")).stem)
    return RedirectResponse(f"/?{state.query()}", 303)


@router.get("/static/{digest}/{name}")
async def static(digest: str, name: str) -> Response:
    """A file of the page."""
    file = bundle().files.get(name)
    if file is None or digest != bundle().digest:
        raise HTTPException(404, "there is no such file")
    headers = {"Cache-Control": _FOR_GOOD, "X-Content-Type-Options": "nosniff"}
    return Response(file.content, 200, headers, file.media_type)


def _failed(request: Request, state: State, error: CompleteLookError) -> Response:
    """The page with what went wrong: what a person can mend is an answer like any other."""
    status, text = meaning(request, error)
    if isinstance(error, ImageError):
        text = _NO_PHOTO
    return _page(
        request.app.state.service, state, problem=text, status=200 if status < 500 else status
    )


def _page(
    service: Service,
    state: State,
    shown: Answer | None = None,
    *,
    problem: str = "",
    status: int = 200,
) -> Response:
    catalog = service.catalog
    text = _templates.get_template("page.html.jinja").render(
        state=state,
        answer=shown,
        problem=problem,
        controls=offer_of(catalog).controls,
        asked=dict(state.asked),
        url=bundle().url,
        most_bytes=service.settings.limits.upload_bytes,
        product_count=len(catalog),
        category_count=len({*catalog.categories.names} & {*catalog.category_counts}),
    )
    return Response(text, status, _HEADERS, "text/html; charset=utf-8")
