"""Problems: every error as RFC 9457 describes it, with nothing of the server's own in its text."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from completelook.errors import (
    CatalogDamaged,
    CatalogError,
    CatalogUnavailable,
    CategoryError,
    CompleteLookError,
    ConditionError,
    ImageError,
    ModelMismatch,
    NotCalibrated,
    ServerError,
    ServerOverloaded,
    ServerTimeout,
    ServerUnavailable,
    UsageError,
)
from completelook.web.json_answer import json_bytes

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_AGAIN = {"Retry-After": str(RETRY_AFTER_S)}

# The status of each error, and what is said of it where its own text is for the operator alone.
_MEANINGS: dict[type[CompleteLookError], tuple[int, str | None]] = {
    UsageError: (422, None),
    ImageError: (422, None),
    CategoryError: (422, None),
    ConditionError: (422, None),
    NotCalibrated: (422, "the model is not calibrated, so no product has a compatibility"),
    CatalogError: (422, None),
    CatalogDamaged: (500, "the catalog is damaged: its owner has to index it again"),
    CatalogUnavailable: (503, "the catalog does not answer: try again later"),
    ModelMismatch: (503, "the catalog was made by another model than the one that answers"),
    ServerOverloaded: (503, "the model has more to do than it can: try again in a moment"),
    ServerUnavailable: (503, "the model does not answer: try again later"),
    ServerTimeout: (504, "the model did not answer in time: try again later"),
    ServerError: (502, "the model failed to answer"),
    CompleteLookError: (500, "the service failed to answer"),
}
_log = logging.getLogger(__name__)

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong, as RFC 9457 has it.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "description": "urn:completelook:ERROR, or about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Of a request that cannot be read: each part, and why.",
            "items": {
                "type": "object",
                "required": ["where", "what"],
                "properties": {"where": {"type": "string"}, "what": {"type": "string"}},
            },
        },
    },
}


Responses = dict[int | str, dict[str, Any]]

NOT_MODIFIED: Responses = {304: {"description": "Not Modified"}}


def webp() -> Responses:
    """What an operation says of the picture that it answers with."""
    picture = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The picture", "content": {"image/webp": picture}}}


def documented(*statuses: int) -> Responses:
    """What an operation says of the problems that it can end with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def problem(
    status: int,
    detail: str,
    *,
    kind: str = "about:blank",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """An answer that says what went wrong."""
    content = {
        "type": kind,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **more,
    }
    headers = {"Cache-Control": "no-store", **(headers or {})}
    return Response(json_bytes(content), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of an application end as a problem."""
    app.add_exception_handler(CompleteLookError, _of_ours)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(Exception, _of_defect)


def meaning(request: Request, error: Exception) -> tuple[int, str]:
    """The status of an error of ours, and what a stranger is told of it."""
    kind = next(each for each in type(error).__mro__ if each in _MEANINGS)
    status, said = _MEANINGS[kind]
    if status >= 500:
        _log.warning("%s %s: %s", request.method, request.url.path, error)
    return status, said or request.app.state.service.without_places(str(error))


def _of_ours(request: Request, error: Exception) -> Response:
    status, told = meaning(request, error)
    return problem(
        status,
        told,
        kind=f"urn:completelook:{type(error).__name__}",
        headers=_AGAIN if status == HTTPStatus.SERVICE_UNAVAILABLE else None,
    )


def _of_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, headers=dict(error.headers or {}))


def _of_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": ".".join(map(str, each["loc"])), "what": str(each["msg"])}
        for each in error.errors()
    ]
    text = "; ".join(
        f"{each['where']}: {each['what']}" if each["where"] else each["what"] for each in errors
    )
    return problem(422, text, errors=errors)


def _of_defect(request: Request, error: Exception) -> Response:
    _log.error("%s %s", request.method, request.url.path, exc_info=error)
    return problem(500, "the service failed to answer")
