"""A host that serves pictures by their signature: asked politely, its answers checked."""

import time
from collections.abc import Callable
from http import HTTPStatus
from threading import Event, Lock
from urllib.request import getproxies, proxy_bypass

import tenacity
import urllib3
from completelook.errors import ImageError
from completelook.images import USER_AGENT, open_image
from urllib3 import exceptions

from completelook_build.console import say

_ATTEMPTS = 4
_BACK_OFF = tenacity.wait_exponential(multiplier=0.5, max=30) + tenacity.wait_random(0, 0.5)
_LONGEST_HOLD_S = 3600.0
_WORTH_SAYING_S = 10.0
_CHUNK_BYTES = 2**16
# Pictures 400 pixels wide take some 30 KB.
_MOST_BYTES = 2**25

# The host's trouble, which may pass; any other refusal is about the picture and stays.
_PASSING = {408, 425, 429, 500, 502, 503, 504}

_JPEG_START = b"\xff\xd8\xff"


class Refused(Exception):
    """There is no such picture, and asking again would not help."""


class Failed(Exception):
    """The host did not give the picture this time."""


class Stopped(Exception):
    """The download is being given up."""


class RateLimit:
    """So many requests a second over all threads, and none while the host wants none."""

    def __init__(
        self,
        requests_per_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._interval_s = 1 / requests_per_s
        self._clock = clock
        self._stopped = Event()
        self._sleep = self._stopped.wait if sleep is None else sleep
        self._next_s = 0.0
        self._lock = Lock()

    def wait(self) -> None:
        """Return when it is this thread's turn to send a request."""
        while pause_s := self._take_turn():
            self.sleep(pause_s)

    def hold(self, seconds: float) -> None:
        """Let no request go for a while."""
        with self._lock:
            self._next_s = max(self._next_s, self._clock() + seconds)

    def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or everything is stopped."""
        if not self._stopped.is_set():
            self._sleep(seconds)
        if self._stopped.is_set():
            raise Stopped

    def stop(self) -> None:
        """Wake all sleepers and let no other request go."""
        self._stopped.set()

    def _take_turn(self) -> float:
        """Zero, having taken the turn, or the seconds until there is one."""
        with self._lock:
            now_s = self._clock()
            if now_s < self._next_s:
                return self._next_s - now_s
            self._next_s = now_s + self._interval_s
            return 0.0


class PictureHost:
    """A host of pictures, asked within a rate limit by up to `in_flight` threads."""

    def __init__(
        self, url: str, rate_limit: RateLimit, *, in_flight: int, timeout_s: float
    ) -> None:
        self.url = url.rstrip("/")
        self._rate_limit = rate_limit
        self._timeout_s = timeout_s
        self._pool = _connections(self.url, in_flight)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Failed),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=_BACK_OFF,
            sleep=rate_limit.sleep,
            reraise=True,
        )

    def fetch(self, url: str) -> bytes:
        """A whole JPEG picture. Raises Refused, Failed where no attempt brought it, or Stopped."""
        return self._retrying(self._attempt, url)

    def _attempt(self, url: str) -> bytes:
        self._rate_limit.wait()
        deadline_s = time.monotonic() + self._timeout_s
        try:
            # Neither redirected nor retried by itself, past the rate limit.
            response = self._pool.request(
                "GET",
                url,
                headers={"User-Agent": USER_AGENT},
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=self._timeout_s,
            )
            with response:
                self._check_status(response)
                content = _read(response, deadline_s)
        except exceptions.TimeoutError as error:
            raise Failed("no answer in time") from error
        except exceptions.ProtocolError as error:
            raise Failed("answer broken off") from error
        except exceptions.HTTPError as error:
            raise Failed(f"no connection ({type(error).__name__})") from error
        return checked_picture(content)

    def _check_status(self, response: urllib3.BaseHTTPResponse) -> None:
        if response.status == HTTPStatus.OK:
            return
        reason = f"HTTP {response.status} {_phrase(response.status)}".rstrip()
        if response.status not in _PASSING:
            raise Refused(reason)
        hold_s = _retry_after_s(response)
        if hold_s >= _WORTH_SAYING_S:
            say(f"{self.url} asks to be left alone for {hold_s:.0f} s")
        self._rate_limit.hold(hold_s)
        raise Failed(reason)


def _connections(url: str, most: int) -> urllib3.PoolManager:
    """Connections that are kept open, through the proxy that the environment names."""
    proxy = getproxies().get(url.partition(":")[0])
    if proxy and not proxy_bypass(url.split("/")[2]):
        return urllib3.ProxyManager(proxy, maxsize=most)
    return urllib3.PoolManager(maxsize=most)


def _phrase(status: int) -> str:
    """What a status means by the standard: the server's own words could be anything."""
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float:
    """How long the host asks to wait, 0 where it does not say."""
    try:
        seconds = urllib3.Retry().get_retry_after(response)
    except (exceptions.HTTPError, ValueError, OverflowError):
        return 0.0
    return min(seconds or 0.0, _LONGEST_HOLD_S)


def _read(response: urllib3.BaseHTTPResponse, deadline_s: float) -> bytes:
    """The body, as it arrives: a host that sends byte by byte must not hold a thread for hours."""
    content = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        content += chunk
        if len(content) > _MOST_BYTES:
            raise Refused(f"larger than {_MOST_BYTES >> 20} MiB")
        if time.monotonic() > deadline_s:
            raise Failed("no answer in time")
    return bytes(content)


def checked_picture(content: bytes) -> bytes:
    """The content of a whole JPEG picture. Raises Refused or Failed."""
    if not content.startswith(_JPEG_START):
        raise Refused("not a JPEG picture")
    try:
        open_image(content)
    except ImageError as error:
        raise Failed("truncated or broken picture") from error
    return content


def picture_url(host: str, signature: str) -> str:
    """Where a host serves a picture 400 pixels wide."""
    folders = "/".join((signature[0:2], signature[2:4], signature[4:6]))
    return f"{host}/400x/{folders}/{signature}.jpg"


def is_host(url: str) -> bool:
    """Whether something is an http(s) URL below which pictures can be."""
    try:
        parts = urllib3.util.parse_url(url)
    except exceptions.HTTPError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.host) and not parts.query
