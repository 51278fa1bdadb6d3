"""Pictures by their URL, from a shop's host on this machine."""

import socket
import threading
import time
from collections import Counter
from contextlib import nullcontext
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import ClassVar

import numpy as np
import pytest
from completelook.errors import ImageError
from completelook.images import USER_AGENT, PicturePolicy, fetch, is_url, load_image, open_image
from PIL import Image


def encoded(image):
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def halves(size=(40, 20)):
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return image


class Shop(BaseHTTPRequestHandler):
    """A shop's picture host: a picture, a page, a broken promise, drips, business and 404."""

    agents: ClassVar[set[str]] = set()
    asked: ClassVar[Counter[str]] = Counter()
    # How the next askings of a path are refused: status and Retry-After.
    busy: ClassVar[dict[str, list[tuple[int, str | None]]]] = {}
    opened = threading.Event()  # ends the drips
    together, most_together, counting = 0, 0, threading.Lock()

    def do_GET(self):
        self.agents.add(self.headers["User-Agent"])
        self.asked[self.path] += 1
        if self.path in ("/drip", "/dripping-headers"):
            self.drip()
        elif self.path.startswith("/crowd"):
            self.crowd()
        elif self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
        elif refusals := self.busy.get(self.path):
            code, hold = refusals.pop(0)
            self.send_response(code)
            if hold is not None:
                self.send_header("Retry-After", hold)
            self.end_headers()
        else:
            self.answer()

    def answer(self):
        content = {
            "/r%C3%B6d%20a.png?w=1": encoded(halves()),
            "/busy": encoded(halves()),
            "/page": b"<html></html>",
            "/cut": encoded(halves(size=(300, 300)))[:100],
        }.get(self.path)
        self.send_response(200 if content else 404)
        if self.path == "/page":
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content or b"") + (self.path == "/cut")))
        self.end_headers()
        self.wfile.write(content or b"")

    def drip(self):
        """A byte now and then, each well within any time that a single read may take."""
        if self.path == "/drip":
            self.send_response(200)
            self.end_headers()
        try:
            while not self.opened.wait(0.02):
                self.wfile.write(b"x")
                self.wfile.flush()
        except OSError:
            pass  # The other end has had enough.

    def crowd(self):
        with self.counting:
            Shop.together += 1
            Shop.most_together = max(Shop.together, Shop.most_together)
        time.sleep(0.05)
        with self.counting:
            Shop.together -= 1
        self.send_response(404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def shop(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name, value in {"agents": set(), "asked": Counter(), "busy": {}}.items():
        monkeypatch.setattr(Shop, name, value)
    monkeypatch.setattr(Shop, "opened", threading.Event())
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Shop.opened.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def seconds_to_fetch(monkeypatch):
    return lambda seconds: monkeypatch.setattr(fetch, "TIMEOUT_S", seconds)


@pytest.mark.parametrize("path", ["/r%C3%B6d%20a.png?w=1", "/röd a.png?w=1"], ids=ascii)
def test_a_url_is_downloaded_escaped_or_not(shop, path):
    assert np.array_equal(np.asarray(open_image(shop + path)), np.asarray(halves()))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nothing", "404"),
        ("/page", "it is text/html, expected a picture"),
        ("/cut", "cannot be decoded"),
    ],
)
def test_a_url_without_a_picture_is_named_with_its_reason(shop, path, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        load_image(shop + path)
    assert shop + path in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[::1", "HTTP://127.0.0.1:1/a.png", "http://127.0.0.1:port/a.png"],
)
def test_a_url_that_cannot_be_reached_is_an_image_error(url, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ImageError, match="cannot be downloaded"):
        load_image(url)


@pytest.mark.usefixtures("shop")
def test_a_silent_host_is_given_up(seconds_to_fetch):
    seconds_to_fetch(0.05)
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as silent:  # accepts, never answers
        url = f"http://127.0.0.1:{silent.server_port}/a.png"
        with pytest.raises(ImageError, match="timed out"):
            load_image(url)


@pytest.mark.parametrize("path", ["/drip", "/dripping-headers"])
def test_a_picture_that_drips_ends_with_its_deadline(shop, seconds_to_fetch, path):
    seconds_to_fetch(0.5)
    # Red as well where the drip ends by itself: that is another error.
    ending = threading.Timer(10, Shop.opened.set)
    ending.start()
    with pytest.raises(ImageError, match=r"not whole within 0\.5 s"):
        load_image(shop + path)
    ending.cancel()
    assert not Shop.opened.is_set()


def test_the_host_learns_who_asks(shop):
    open_image(shop + "/busy")
    assert Shop.agents == {USER_AGENT}
    assert USER_AGENT.startswith("completelook/")


def test_a_redirect_is_followed_to_http_alone(shop):
    assert open_image(f"{shop}/to?{shop}/busy").size == (40, 20)
    for elsewhere in ("file:///etc/hostname", "ftp://127.0.0.1/a.png", "data:,x"):
        with pytest.raises(ImageError, match=r"redirect|302|unknown url type"):
            load_image(f"{shop}/to?{elsewhere}")


@pytest.mark.parametrize("hold", [None, "0", "soon", formatdate(0)], ids=str)
@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_host_is_asked_again(shop, code, hold, monkeypatch):
    monkeypatch.setattr(fetch, "_FIRST_BACK_OFF_S", 0.01)
    Shop.busy["/busy"] = [(code, hold)] * 2
    assert open_image(shop + "/busy").size == (40, 20)
    assert Shop.asked["/busy"] == 3


def test_a_busy_host_is_left_alone_as_long_as_it_asks(shop, monkeypatch):
    held = []
    monkeypatch.setattr("completelook.images.fetch.time.sleep", held.append)
    Shop.busy["/busy"] = [(429, "3"), (503, None), (503, None)]
    open_image(shop + "/busy")
    assert held == [3, 1.0, 2.0]


@pytest.mark.parametrize(
    "hold", ["3600", formatdate(time.time() + 3600, usegmt=True)], ids=["seconds", "date"]
)
def test_a_host_that_is_busy_for_longer_than_the_deadline_is_given_up_at_once(shop, hold):
    Shop.busy["/busy"] = [(503, hold)] * 9
    with pytest.raises(ImageError, match="503"):
        load_image(shop + "/busy")
    assert Shop.asked["/busy"] == 1


def test_a_refusal_for_good_is_not_asked_again(shop):
    Shop.busy["/busy"] = [(500, "0")]
    with pytest.raises(ImageError, match="500"):
        load_image(shop + "/busy")
    assert Shop.asked["/busy"] == 1


def test_a_host_has_a_bounded_number_of_connections(shop, monkeypatch):
    monkeypatch.setattr(Shop, "most_together", 0)

    def ask(number):
        with pytest.raises(ImageError, match="404"):
            load_image(f"{shop}/crowd/{number}")

    threads = [threading.Thread(target=ask, args=[number]) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 < Shop.most_together <= fetch.CONNECTIONS_PER_HOST


def test_an_oversized_answer_is_refused(shop, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 20)
    with pytest.raises(ImageError, match="larger than"):
        load_image(shop + "/busy")


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("http://a/b.jpg", True),
        ("HTTPS://a/b.jpg", True),
        ("//cdn.shop.example/b.jpg", True),
        ("//srv/pictures/b.jpg", False),
        ("/tmp/http://a.jpg", False),
        ("ftp://a/b.jpg", False),
        ("b.jpg", False),
        ("//", False),
    ],
)
def test_a_url_is_told_from_a_path(source, url):
    assert is_url(source) == url


def test_an_address_without_a_scheme_is_https(monkeypatch):
    asked = []
    monkeypatch.setattr(fetch, "_read", lambda _, address, *__: asked.append(address) or b"")
    with pytest.raises(ImageError):
        load_image("//cdn.shop.example/a b.jpg")
    assert asked == ["https://cdn.shop.example/a%20b.jpg"]


ADDRESSES = [
    ("127.0.0.1", False), ("10.1.2.3", False), ("169.254.169.254", False), ("0.0.0.0", False),
    ("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False),
    ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False), ("::", False),
    ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False), ("93.184.215.14", True),
    ("2606:4700::1111", True), ("64:ff9b::5db8:d70e", True),
]  # fmt: skip


@pytest.mark.parametrize(("address", "public"), ADDRESSES)
def test_private_addresses_are_told_from_public_ones(address, public):
    PicturePolicy().check_address(address)
    with nullcontext() if public else pytest.raises(ValueError, match="cannot be reached"):
        PicturePolicy(deny_private=True).check_address(address)


def test_a_private_address_is_never_asked_and_reads_as_a_closed_port(shop):
    policy = PicturePolicy(deny_private=True)
    texts = []
    for url in (f"{shop}/busy", "http://127.0.0.1:1/busy", "http://localhost:1/busy"):
        with pytest.raises(ImageError) as caught:
            load_image(url, policy)
        texts.append(str(caught.value).replace(url, "URL"))
    assert texts == ["image URL: cannot be downloaded: the host cannot be reached"] * 3
    assert not Shop.asked


def test_a_proxy_is_no_way_around(shop, monkeypatch):
    monkeypatch.setenv("http_proxy", shop)
    monkeypatch.delenv("no_proxy")
    with pytest.raises(ImageError, match="cannot be reached"):
        load_image("http://127.0.0.2/a.png", PicturePolicy(deny_private=True))
    assert not Shop.asked


def test_a_redirect_to_another_host_than_the_allowed_is_refused(shop):
    policy = PicturePolicy(allow_hosts=["127.0.0.1"])
    assert load_image(f"{shop}/busy", policy).shape == (224, 224, 3)
    elsewhere = shop.replace("127.0.0.1", "localhost")
    for url in (f"{elsewhere}/busy", f"{shop}/to?{elsewhere}/busy"):
        with pytest.raises(ImageError, match="the host 'localhost' is not among those allowed"):
            load_image(url, policy)
    assert Shop.asked["/busy"] == 1


def test_the_address_that_was_looked_at_is_the_one_connected_to(shop, monkeypatch):
    """A name that leads elsewhere when it is asked for again."""
    port = int(shop.rpartition(":")[2])
    asked = []
    resolve = socket.getaddrinfo

    def rebinding(host, *arguments, **options):
        asked.append(host)
        return resolve("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert load_image(f"http://cdn.example:{port}/busy").shape == (224, 224, 3)
    assert asked == ["cdn.example"]


def test_a_name_that_is_not_resolved_in_time_is_given_up(seconds_to_fetch, monkeypatch):
    seconds_to_fetch(0.2)
    forever = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: forever.wait())
    with pytest.raises(ImageError, match=r"not whole within 0\.2 s"):
        load_image("http://cdn.example/a.png")
    forever.set()
