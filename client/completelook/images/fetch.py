"""Pictures by their URL: from http and https alone, whole within one deadline, and politely."""

import contextlib
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from importlib.metadata import version
from queue import Empty, Queue
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from weakref import WeakValueDictionary

from completelook.errors import ImageError
from completelook.images.policy import ANY_PICTURE, UNREACHABLE, PicturePolicy

TIMEOUT_S = 10.0
MAX_BYTES = 128 * 2**20
CONNECTIONS_PER_HOST = 8
USER_AGENT = f"completelook/{version('completelook')} (Complete the Look; reads catalog pictures)"

# The host has enough for now, which passes; any other refusal is about the picture.
_BUSY = (429, 503)
_FIRST_BACK_OFF_S = 0.5

# Other types may well be a picture whose host does not know better.
_NO_PICTURES = ("audio", "text", "video", "application/json", "application/pdf", "application/xml")

_HOST_SLOTS: WeakValueDictionary[str, threading.BoundedSemaphore] = WeakValueDictionary()
_TAKING_SLOTS = threading.Lock()


def is_url(source: str) -> bool:
    """Whether a picture's name is a URL and not a path: http(s)://..., or //host.name/... ."""
    scheme, slashes, rest = source.partition("//")
    host = rest.partition("/")[0]
    return bool(slashes) and (
        scheme.casefold() in ("http:", "https:") or (not scheme and "." in host)
    )


def host_of(url: str) -> str:
    """The host of a URL, empty where it names none."""
    try:
        return urllib.parse.urlsplit(url).netloc.casefold()
    except ValueError:
        return ""


def download(url: str, policy: PicturePolicy = ANY_PICTURE) -> bytes:
    """What lies at a URL that the policy allows; one without a scheme, //host.name/..., is https.

    It is whole within TIMEOUT_S, redirects and retries of a host that is busy (429, 503)
    included, or ImageError; the time starts when one of the CONNECTIONS_PER_HOST is free.
    """
    address = f"https:{url}" if url.startswith("//") else url
    # Catalogs hold URLs with spaces and accents, which browsers escape and urllib refuses.
    escaped = urllib.parse.quote(address, safe="%/:=&?~#+!$,;'@()*[]")
    with _slot(host_of(address)), _Deadline(TIMEOUT_S) as deadline:
        try:
            return _read(url, escaped, deadline, policy)
        except HTTPError as error:
            with error:  # It holds the connection.
                raise ImageError(f"image {url}: the server answers {error}") from error
        except (OSError, HTTPException, ValueError) as error:
            reason: object = error
            if deadline.is_over:
                reason = f"not whole within {TIMEOUT_S:g} s, timed out"
            elif policy.deny_private and isinstance(error, OSError):
                reason = UNREACHABLE  # Whether a port is closed or denied is not for strangers.
            raise ImageError(f"image {url}: cannot be downloaded: {reason}") from error


def _read(url: str, escaped: str, deadline: "_Deadline", policy: PicturePolicy) -> bytes:
    # The opener knows http and https alone.
    request = urllib.request.Request(escaped, headers={"User-Agent": USER_AGENT})  # noqa: S310
    opener = _opener(deadline, policy)
    back_off_s = _FIRST_BACK_OFF_S
    while True:
        try:
            with opener.open(request, timeout=deadline.left_s) as response:
                _require_picture(response.headers)
                content: bytes = response.read(MAX_BYTES + 1)
        except HTTPError as error:
            hold_s = max(back_off_s, _retry_after_s(error))
            if error.code not in _BUSY or hold_s >= deadline.left_s:
                raise
            error.close()
            time.sleep(hold_s)
            back_off_s *= 2
            continue
        if deadline.is_over:  # Its connection may have been ended, which looks like the end.
            raise TimeoutError
        if len(content) > MAX_BYTES:
            raise ImageError(f"image {url}: is larger than {MAX_BYTES >> 20} MiB, no picture is")
        return content


def _require_picture(headers: Message) -> None:
    """Raise ValueError for what its host calls something else than a picture."""
    kind = headers.get_content_type() if headers.get("Content-Type") else ""
    if kind.partition("/")[0] in _NO_PICTURES or kind in _NO_PICTURES:
        raise ValueError(f"it is {kind}, expected a picture")


def _retry_after_s(error: HTTPError) -> float:
    """How long a busy host asks to be left alone, 0 where it does not say."""
    text = (error.headers.get("Retry-After") or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0


@contextmanager
def _slot(host: str) -> Iterator[None]:
    with _TAKING_SLOTS:
        slots = _HOST_SLOTS.setdefault(host, threading.BoundedSemaphore(CONNECTIONS_PER_HOST))
    with slots:
        yield


class _Deadline:
    """Shuts connections down once their time is over: a drip never lets a read time out."""

    def __init__(self, seconds: float) -> None:
        self._end_s = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []

    @property
    def left_s(self) -> float:
        return max(self._end_s - time.monotonic(), 0.001)  # a timeout of 0 would be none

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end_s

    def watch(self, connection: socket.socket) -> None:
        with self._lock:
            # A second handle on the connection: TLS takes the first one over.
            self._connections.append(connection.dup())
        if self.is_over:
            self._shut_down()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def _shut_down(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):  # It may have ended by itself.
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    """A connection to an allowed address, watched from before its TLS handshake on."""

    deadline: _Deadline
    policy: PicturePolicy

    def connect(self) -> None:
        # To the very addresses that were looked at: a name can lead elsewhere the next time.
        self._create_connection = self._connected
        super().connect()

    def _connected(self, place: tuple[str, int], *_: object) -> socket.socket:
        addresses = _resolve(*place, self.deadline.left_s)
        for *_, address in addresses:
            self.policy.check_address(address[0])
        failure: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            connection = socket.socket(family, kind, protocol)
            try:
                # They are tried in turn, each for this long.
                connection.settimeout(self.deadline.left_s / len(addresses))
                connection.connect(address)
                self.policy.check_address(connection.getpeername()[0])
                connection.settimeout(self.deadline.left_s)
                self.deadline.watch(connection)
                return connection
            except OSError as error:
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
        raise failure or OSError(f"{place[0]} has no address")


def _resolve(host: str, port: int, timeout_s: float) -> list[Any]:
    """The addresses of a host. Raises OSError, also where they are not known in time."""
    found: Queue[list[Any] | OSError] = Queue()

    def ask() -> None:
        try:
            found.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.put(error)
        except UnicodeError:  # A name that cannot be asked for.
            found.put(OSError(f"{host!r} is no name of a host"))

    # Nothing interrupts the system's own resolver: a thread is left to it.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = found.get(timeout=timeout_s)
    except Empty:
        raise TimeoutError(f"the address of {host} is not known in time") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


class _SecureConnection(HTTPSConnection, _Connection):
    """The same for https, whose handshake comes after `_Connection.connect`."""


class _Handler(urllib.request.AbstractHTTPHandler):
    def __init__(self, deadline: _Deadline, policy: PicturePolicy) -> None:
        super().__init__()
        self._deadline = deadline
        self._policy = policy

    def http_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(self._watched(_Connection), request)

    def https_open(self, request: urllib.request.Request) -> HTTPResponse:
        return self.do_open(self._watched(_SecureConnection), request, context=_tls())

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Also of every redirect."""
        self._policy.check_host(urllib.parse.urlsplit(request.full_url).hostname or "")
        return self.do_request_(request)

    https_request = http_request

    def _watched(self, kind: type[_Connection]) -> Callable[..., _Connection]:
        def make(host: str, **options: object) -> _Connection:
            connection = kind(host, **options)  # type: ignore[arg-type]
            connection.deadline, connection.policy = self._deadline, self._policy
            return connection

        return make


def _opener(deadline: _Deadline, policy: PicturePolicy) -> urllib.request.OpenerDirector:
    """Without urllib's handlers of files, ftp and data, to which a host could redirect."""
    opener = urllib.request.OpenerDirector()
    # A proxy would look names up by itself, and lead to any address.
    proxies: dict[str, str] | None = {} if policy.deny_private else None
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Handler(deadline, policy),
    ):
        opener.add_handler(handler)
    return opener


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
