"""The guard before all routes: who may ask, how much, how many at once, and for how long."""

import asyncio
import base64
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from completelook.web.metrics import Metrics
from completelook.web.problems import RETRY_AFTER_S, problem

# What watches over a service needs no token.
OPEN = ("/healthz", "/readyz")
# The second is for people: their browser asks for a password, and sends it with every picture too.
# Chromium knows one scheme a header, hence two of them.
_CHALLENGES = ("Bearer", 'Basic realm="Complete the Look"')


@dataclass(frozen=True)
class Limits:
    """What a service bears."""

    upload_bytes: int = 20 * 2**20
    requests: int = 64  # questions at once; what comes beyond is told to try again
    time_s: float = 30.0  # of one request, its upload included


DEFAULT_LIMITS = Limits()


class Guard:
    """Let requests through that keep to the limits, and count them all."""

    def __init__(
        self, app: ASGIApp, *, limits: Limits, token: str | None, metrics: Metrics
    ) -> None:
        self._app = app
        self._limits = limits
        self._token = None if token is None else token.encode()
        self._metrics = metrics
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        begun_s = time.perf_counter()
        try:
            await self._answered(scope, receive, answer)
        finally:
            self._metrics.count(scope, answer.status, time.perf_counter() - begun_s)

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        body = _Body(receive, self._limits.upload_bytes)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        try:
            with self._counted(scope):
                async with asyncio.timeout(self._limits.time_s):
                    await self._app(scope, body, answer)
        except TimeoutError:
            if answer.status:
                raise
            late = (
                (504, "there is no answer in time: try again later")
                if body.is_whole
                else (408, "the request did not arrive in time")
            )
            await problem(*late)(scope, receive, answer)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN and not self._is_let_in(headers):
            expected = "expected Authorization: Bearer TOKEN, or TOKEN as the password"
            refusal = problem(401, expected)
            for challenge in _CHALLENGES:
                refusal.headers.append("WWW-Authenticate", challenge)
            return refusal
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limits.upload_bytes:
            return problem(413, too_large(self._limits.upload_bytes))
        if _is_question(scope) and self._under_way >= self._limits.requests:
            again = {"Retry-After": str(RETRY_AFTER_S)}
            return problem(429, "too many requests at once: try again", headers=again)
        return None

    def _is_let_in(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        return hmac.compare_digest(_token(headers.get("authorization", "")), self._token)

    @contextmanager
    def _counted(self, scope: Scope) -> Iterator[None]:
        counts = int(_is_question(scope))
        self._under_way += counts
        self._metrics.under_way.set(self._under_way)
        try:
            yield
        finally:
            self._under_way -= counts
            self._metrics.under_way.set(self._under_way)


def too_large(most_bytes: int) -> str:
    """What is said of an upload beyond the limit."""
    return f"the request is larger than the {most_bytes / 2**20:g} MiB allowed: shrink the picture"


def _is_question(scope: Scope) -> bool:
    """Whether it costs an inference or a ranking, as the page does."""
    return bool(scope["method"] == "POST" or scope["path"] == "/")


def _token(authorization: str) -> bytes:
    """What a header gives as the token, the password of any user."""
    scheme, _, given = authorization.partition(" ")
    if scheme.casefold() == "basic":
        with suppress(ValueError):
            return base64.b64decode(given).partition(b":")[2]
    return given.strip().encode() if scheme.casefold() == "bearer" else b""


class _Body:
    """What a request brings, no more of it than allowed."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive = receive
        self._most_bytes = most_bytes
        self._bytes = 0
        self.is_whole = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._most_bytes:
            raise HTTPException(413, too_large(self._most_bytes))
        self.is_whole = not message.get("more_body", False)
        return message


class _Answer:
    """What is sent, and its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
