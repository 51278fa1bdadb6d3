"""A client that costs next to nothing: requests made beforehand, over connections that are kept."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_BOUNDARY = b"completelook-load"
_LINE = "\r\n"


@dataclass(frozen=True)
class Answer:
    """What came back, and when."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def content(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


def form(photo: bytes) -> tuple[str, bytes]:
    """A form with a photo: its media type, and itself."""
    body = (
        b'--%b\r\nContent-Disposition: form-data; name="image"; filename="room.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n%b\r\n--%b--\r\n" % (_BOUNDARY, photo, _BOUNDARY)
    )
    return f"multipart/form-data; boundary={_BOUNDARY.decode()}", body


class Asker:
    """Asks a service at HOST:PORT."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    def ask_all(
        self, path: str, bodies: Sequence[tuple[str, bytes]], *, in_flight: int
    ) -> tuple[list[Answer], float]:
        """The answers to many requests, so many at once, as they came; and the seconds of all."""
        return asyncio.run(self._ask_all(path, bodies, in_flight))

    def ask(self, path: str, bodies: Sequence[tuple[str, bytes]]) -> list[Answer]:
        """The answers to requests that are sent one after another."""
        return self.ask_all(path, bodies, in_flight=1)[0]

    def token_of(self, photo: bytes) -> str:
        """What the service calls a photo's scene."""
        (answer,) = self.ask("/v1/rank", [form(photo)])
        return str(answer.content["scene"])

    async def _ask_all(
        self, path: str, bodies: Sequence[tuple[str, bytes]], in_flight: int
    ) -> tuple[list[Answer], float]:
        waiting = iter([self._request(path, *body) for body in bodies])
        answers: list[Answer] = []
        begun_s = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(in_flight, len(bodies))):
                tasks.create_task(self._work(waiting, answers.append))
        return answers, time.perf_counter() - begun_s

    async def _work(self, waiting: Iterator[bytes], done: Callable[[Answer], None]) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            for request in waiting:
                begun_s = time.perf_counter()
                writer.write(request)
                await writer.drain()
                status, headers, body = await _read(reader)
                done(Answer(status, headers, body, time.perf_counter() - begun_s))
        finally:
            writer.close()
            await writer.wait_closed()

    def _request(self, path: str, kind: str, body: bytes) -> bytes:
        head = (
            f"POST {path} HTTP/1.1",
            f"Host: {self._address}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        )
        return (_LINE.join(head) + 2 * _LINE).encode() + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.casefold(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers["content-length"]))
    return int(head[0].split()[1]), headers, body
