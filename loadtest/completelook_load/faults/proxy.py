"""A TCP proxy on loopback that does to a connection what networks do."""

import asyncio
import gc
import socket
import struct
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 1 << 16
# An abort that the other side sees as "connection reset", not as an end.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Weather:
    """How the network is; the default is fine."""

    latency_s: float = 0.0  # before each piece, either way
    piece_bytes: int = _CHUNK_BYTES  # few, with a latency, are a drip
    is_silent: bool = False  # takes what is sent, and connections too, and passes nothing on


FINE = Weather()


class Proxy:
    """Passes connections on to a server, as long as a `with` block lasts.

    `weather` may be changed at any time, for open connections and new ones; `target` for new ones.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.weather = FINE
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._serve()), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
        self._writers.clear()
        # A connection that came at the last moment belongs to nobody, and is no fault of who asked.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def reset(self) -> None:
        """Break every open connection at once, as a crash of either side or a firewall does."""
        asyncio.run_coroutine_threadsafe(self._reset(), self._loop).result()

    async def _reset(self) -> None:
        for writer in list(self._writers):
            end = writer.get_extra_info("socket")
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        self._ready.set()
        await self._stop.wait()
        server.close()
        await asyncio.sleep(0)  # What was accepted a moment ago becomes a connection.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._reset()  # Which ends all that is passed on.
            await asyncio.wait(others, timeout=1)
        # A transport closes its socket some time after it was closed itself.
        ends = (writer.wait_closed() for writer in self._writers)
        await asyncio.gather(*ends, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        async with self._kept(writer):
            with suppress(OSError):
                answers, questions = await asyncio.open_connection(host, int(port))
                async with self._kept(questions):
                    pumps = self._pump(reader, questions), self._pump(answers, writer)
                    tasks = [asyncio.ensure_future(pump) for pump in pumps]
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_silent = False
        while content := await reader.read(_CHUNK_BYTES):
            while content:
                weather = self.weather
                piece, content = content[: weather.piece_bytes], content[weather.piece_bytes :]
                await asyncio.sleep(weather.latency_s)
                # What has lost a piece never goes on: TCP passes all on in order, or nothing.
                is_silent |= weather.is_silent
                if not is_silent:
                    writer.write(piece)
                    await writer.drain()
