"""Answers in JSON, and answers that a browser may keep: ETag and 304."""

import hashlib
from typing import Any

import orjson
from fastapi import Request, Response

# Kept, and asked about each time: a catalog may be replaced at any moment.
ASK_ANEW = "private, no-cache"


def json_bytes(content: Any) -> bytes:
    """Content as JSON; of a shop's cells no number is null, and a date or a decimal is its text."""
    return orjson.dumps(content, default=str, option=orjson.OPT_PASSTHROUGH_DATETIME)


def json_answer(content: Any) -> Response:
    """An answer to this question alone; bytes are JSON already."""
    body = content if isinstance(content, bytes) else json_bytes(content)
    return Response(body, 200, {"Cache-Control": "no-store"}, "application/json")


def tagged_json(request: Request, content: Any) -> Response:
    """`tagged` for JSON."""
    body = json_bytes(content)
    return tagged(request, body, "application/json", tag_of(body), ASK_ANEW)


def tag_of(content: bytes) -> str:
    """What content is told apart by."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def tagged(
    request: Request, content: bytes, media_type: str, tag: str, cache_control: str
) -> Response:
    """An answer with its ETag, or 304 to who has it already."""
    headers = {"ETag": tag, "Cache-Control": cache_control}
    held = request.headers.get("if-none-match", "")
    tags = {each.strip().removeprefix("W/") for each in held.split(",")}
    if tag in tags or "*" in tags:
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, media_type)
