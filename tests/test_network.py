"""What a client says and does when the network fails it: each error names the right cure."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from completelook import CompleteLook
from completelook.errors import ServerTimeout, ServerUnavailable
from completelook.triton import connection
from completelook_load.faults.proxy import FINE, Proxy, Weather
from fakes import FakeTriton, axis, picture

SILENT = Weather(is_silent=True)


@pytest.fixture
def proxy(triton: FakeTriton) -> Iterator[Proxy]:
    with Proxy(triton.address) as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the patience with a connection that does not come about."""
    options = dict(connection._CHANNEL_OPTIONS) | {"grpc.min_reconnect_backoff_ms": 300}
    monkeypatch.setattr(connection, "_CHANNEL_OPTIONS", list(options.items()))


@contextmanager
def black_hole() -> Iterator[str]:
    """An address where packets vanish: no connection comes about, and none is refused.

    Linux drops what comes to a listener whose queue is full; whether it is shows in a connection
    that does not come about.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        address = full.getsockname()
        with suppress(TimeoutError):
            while True:
                stack.enter_context(socket.create_connection(address, timeout=0.2))
        yield "{}:{}".format(*address)


def is_right(look: CompleteLook) -> bool:
    return bool((look.embed_product(picture(3)).embedding == axis(3)).all())


@pytest.mark.parametrize(
    "weather",
    [
        pytest.param(FINE, id="fine"),
        pytest.param(Weather(latency_s=0.02), id="slow"),
        pytest.param(Weather(piece_bytes=1000), id="in pieces"),
    ],
)
def test_a_slow_network_gives_the_same_answers(proxy: Proxy, weather: Weather) -> None:
    proxy.weather = weather
    with CompleteLook(proxy.address, timeout_s=10) as look:
        assert is_right(look)


def test_a_connection_that_breaks_during_a_call_is_made_again(proxy: Proxy) -> None:
    with CompleteLook(proxy.address, timeout_s=10) as look:
        assert is_right(look)
        proxy.weather = Weather(latency_s=0.2)
        breaks = threading.Timer(0.3, proxy.reset)
        breaks.start()
        assert is_right(look)
        breaks.join()


def test_a_connection_that_breaks_without_retries_says_so(proxy: Proxy) -> None:
    with CompleteLook(proxy.address, timeout_s=10, retries=False) as look:
        assert is_right(look)
        proxy.weather = Weather(latency_s=0.2)
        breaks = threading.Timer(0.1, proxy.reset)
        breaks.start()
        with pytest.raises(ServerUnavailable, match=r"connection to .* broke .*still runs"):
            look.embed_product(picture(3))
        breaks.join()


def test_a_half_open_connection_is_told_as_what_swallows_and_left_for_a_new_one(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(connection._CHANNEL_OPTIONS)
    assert options["grpc.http2.ping_timeout_ms"] == 10_000
    options |= {"grpc.keepalive_time_ms": 300, "grpc.http2.ping_timeout_ms": 700}
    monkeypatch.setattr(connection, "_CHANNEL_OPTIONS", list(options.items()))
    with CompleteLook(proxy.address, timeout_s=0.4) as look:
        assert is_right(look)
        proxy.weather = SILENT
        with pytest.raises(ServerTimeout, match=r"swallows what is sent.*timeout_s"):
            look.embed_product(picture(3))
        proxy.weather = FINE  # for new connections: the old one has lost a piece for ever
        answers = []
        for _ in range(10):
            try:
                answers.append(is_right(look))
                break
            except (ServerTimeout, ServerUnavailable):
                continue
        assert answers == [True]


@pytest.mark.usefixtures("impatient")
def test_something_that_takes_connections_and_never_answers_is_told(proxy: Proxy) -> None:
    proxy.weather = SILENT
    with (
        CompleteLook(proxy.address, timeout_s=10) as look,
        pytest.raises(ServerUnavailable, match="takes connections and never answers"),
    ):
        look.embed_product(picture(3))


@pytest.mark.usefixtures("impatient")
def test_a_black_hole_is_told_from_a_closed_port() -> None:
    with black_hole() as address, CompleteLook(address, timeout_s=10) as look:
        told = re.escape(f"no connection to {address} comes about")
        with pytest.raises(ServerUnavailable, match=f"{told}.*firewall"):
            look.embed_product(picture(3))


def test_a_drip_ends_with_its_deadline(proxy: Proxy) -> None:
    proxy.weather = Weather(latency_s=0.01, piece_bytes=10)
    with (
        CompleteLook(proxy.address, timeout_s=0.5) as look,
        pytest.raises(ServerTimeout, match=r"within 0\.5 s"),
    ):
        look.embed_product(picture(3))


def test_a_proxy_whose_server_is_down_is_told_as_one() -> None:
    with (
        Proxy("127.0.0.1:1") as proxy,
        CompleteLook(proxy.address, timeout_s=10) as look,
        pytest.raises(ServerUnavailable, match="in front of a server that is down"),
    ):
        look.embed_product(picture(3))
