"""The HTTP service in a thread of the tests, over real HTTP."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from completelook.web import Settings, create_app


@contextmanager
def serving(settings: Settings) -> Iterator[httpx.Client]:
    """The service, and a client of it."""
    config = uvicorn.Config(create_app(settings), log_level="critical", ws="none", lifespan="on")
    running = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(running.serve([listening])))
        thread.start()
        try:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=address, timeout=20, trust_env=False) as client:
                yield client
        finally:
            running.should_exit = True
            thread.join()
