"""Downloads against a server on this machine that is slow, broken, rude or without pictures."""

import csv
import io
import json
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from completelook_build.cli import app
from completelook_build.data.download import IN_FLIGHT, MissingPicture, download_pictures, list_path
from completelook_build.data.picture_host import RateLimit, Stopped, is_host, picture_url
from completelook_build.errors import DataError
from PIL import Image
from typer.testing import CliRunner

RATE = 100.0
TIMEOUT_S = 0.3
GIVEN_UP_AFTER = 4  # attempts


def jpeg(shade=0):
    content = io.BytesIO()
    Image.effect_noise((40, 30), 60 + shade % 100).convert("RGB").save(content, "JPEG")
    return content.getvalue()


PICTURE = jpeg()
HTML = b"<html>We are sorry</html>"


def signature(number):
    return f"{number:032x}"


def ok(handler, body=PICTURE):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def status(code, **headers):
    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def html(handler):
    ok(handler, HTML)


def half_a_picture(handler):
    """Whole by its length, so that only decoding can tell."""
    ok(handler, PICTURE[: len(PICTURE) // 2])


def broken_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(PICTURE)))
    handler.end_headers()
    handler.wfile.write(PICTURE[:100])
    handler.close_connection = True


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def silent(handler):
    handler.server.closing.wait(20 * TIMEOUT_S)
    handler.close_connection = True


def byte_by_byte(handler):
    """Never silent for long, and never done."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        while not handler.server.closing.wait(TIMEOUT_S / 5):
            handler.wfile.write(b"\xff")
    except OSError:
        handler.close_connection = True


class Pictures(ThreadingHTTPServer):
    """Answers each picture by its own script, the last line of it again and again."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.scripts = {}
        self.asked = Counter()
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.meeting = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def answer_of(self, path):
        with self.lock:
            script = self.scripts.get(path.rpartition("/")[2].removesuffix(".jpg"), [ok])
            answer = script[min(self.asked[path], len(script) - 1)]
            self.asked[path] += 1
        return answer

    def handle_error(self, request, client_address):
        """Clients that hang up are what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server: Any = self.server
        with server.lock:
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            if server.meeting is not None:
                server.meeting()
            server.answer_of(self.path)(self)
        finally:
            with server.lock:
                server.in_flight -= 1

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Pictures() as pictures:
        thread = threading.Thread(target=pictures.serve_forever, args=(0.01,))
        thread.start()
        yield pictures
        pictures.closing.set()
        pictures.shutdown()
        thread.join()


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self):
        self.now = 0.0
        self.lock = threading.Lock()

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        with self.lock:
            self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fetch(server, clock, tmp_path):
    """Download the pictures of some ids, the first a scene, the others products in it."""

    def run(*ids, host=server.url, timeout_s=20.0):
        pairs = write_pairs(tmp_path, *ids)
        rate_limit = RateLimit(RATE, clock, clock.sleep)
        return download_pictures(
            pairs, tmp_path / "images", rate_limit, host=host, timeout_s=timeout_s
        )

    return run


def write_pairs(folder, scene, *products):
    rows = [{"scene": scene, "product": product, "bbox": None} for product in products or [scene]]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@contextmanager
def nothing_there():
    """A port on which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


def listed(folder):
    with list_path(folder / "images").open(newline="") as file:
        return list(csv.DictReader(file))


def names(folder):
    return {path.name for path in (folder / "images").iterdir()}


def test_scenes_and_products_are_fetched_once_from_their_places(server, fetch, tmp_path):
    scene, rug, lamp = "aabbcc" + "0" * 26, "0123456789abcdef0123456789abcdef", signature(3)
    server.scripts[rug] = [lambda handler: ok(handler, jpeg(9))]
    report = fetch(scene, rug, lamp, rug)
    assert (report.fetched, report.present, report.missing) == (3, 0, ())
    assert server.asked == {
        f"/400x/aa/bb/cc/{scene}.jpg": 1,
        f"/400x/01/23/45/{rug}.jpg": 1,
        f"/400x/00/00/00/{lamp}.jpg": 1,
    }
    assert names(tmp_path) == {f"{name}.jpg" for name in (scene, rug, lamp)}
    assert (tmp_path / f"images/{lamp}.jpg").read_bytes() == PICTURE


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(status(500), id="500"),
        pytest.param(status(503), id="503"),
        pytest.param(status(429), id="429"),
        pytest.param(half_a_picture, id="half a picture"),
        pytest.param(broken_off, id="broken off"),
        pytest.param(hang_up, id="hung up"),
        pytest.param(silent, id="silent"),
        pytest.param(status(429, Retry_After="whenever"), id="Retry-After no number"),
        pytest.param(status(429, Retry_After="9" * 5000), id="Retry-After of 5000 digits"),
    ],
)
def test_trouble_that_passes_is_asked_again(first, server, fetch, tmp_path):
    server.scripts[signature(1)] = [first, first, ok]
    report = fetch(signature(1), timeout_s=TIMEOUT_S if first is silent else 20.0)
    assert report.fetched == 1
    assert server.asked.total() == 3
    assert names(tmp_path) == {f"{signature(1)}.jpg"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(status(404), "HTTP 404 Not Found", id="404"),
        pytest.param(status(403), "HTTP 403 Forbidden", id="403"),
        pytest.param(status(410), "HTTP 410 Gone", id="410"),
        pytest.param(status(799), "HTTP 799", id="unknown status"),
        pytest.param(status(301, Location="/"), "HTTP 301 Moved Permanently", id="redirect"),
        pytest.param(html, "not a JPEG picture", id="HTML"),
        pytest.param(lambda handler: ok(handler, b""), "not a JPEG picture", id="empty"),
    ],
)
def test_a_dead_link_is_asked_once_and_listed(answer, reason, server, fetch, tmp_path):
    dead, alive = signature(1), signature(2)
    server.scripts[dead] = [answer]
    report = fetch(dead, alive)
    url = picture_url(server.url, dead)
    assert report.missing == (MissingPicture(dead, url, reason),)
    assert report.summary() == f"1 pictures fetched, 0 already there, 1 missing (1 x {reason})"
    assert server.asked.total() == 2
    assert names(tmp_path) == {f"{alive}.jpg", "missing.csv"}
    assert listed(tmp_path) == [{"id": dead, "url": url, "reason": reason}]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(status(500), "HTTP 500 Internal Server Error", id="500"),
        pytest.param(half_a_picture, "truncated or broken picture", id="half a picture"),
        pytest.param(broken_off, "answer broken off", id="broken off"),
        pytest.param(silent, "no answer in time", id="silent"),
        pytest.param(byte_by_byte, "no answer in time", id="byte by byte"),
    ],
)
def test_trouble_that_stays_is_given_up_and_listed(answer, reason, server, fetch, tmp_path):
    server.scripts[signature(1)] = [answer]
    report = fetch(signature(1), timeout_s=TIMEOUT_S)
    assert [picture.reason for picture in report.missing] == [reason]
    assert server.asked.total() == GIVEN_UP_AFTER
    assert names(tmp_path) == {"missing.csv"}


def test_back_off_grows(server, fetch, clock):
    server.scripts[signature(1)] = [status(500)]
    fetch(signature(1))
    assert clock.now >= 0.5 + 1 + 2


@pytest.mark.parametrize("code", [429, 503])
def test_the_host_is_left_alone_for_as_long_as_it_asks(code, server, fetch, clock):
    server.scripts[signature(1)] = [status(code, Retry_After="700"), ok]
    assert fetch(signature(1)).fetched == 1
    assert 700 <= clock.now < 710


def test_no_host_is_obeyed_for_longer_than_an_hour(server, fetch, clock, capsys):
    server.scripts[signature(1)] = [status(429, Retry_After="99999999"), ok]
    assert fetch(signature(1)).fetched == 1
    assert 3600 <= clock.now < 3610
    assert "asks to be left alone for 3600 s" in capsys.readouterr().err


def test_a_second_run_fetches_only_what_is_missing_or_not_whole(server, fetch, tmp_path):
    ids = [signature(number) for number in range(5)]
    server.scripts[ids[0]] = [status(404), ok]
    assert fetch(*ids).fetched == 4
    (tmp_path / f"images/{ids[1]}.jpg").unlink()
    (tmp_path / f"images/{ids[2]}.jpg").write_bytes(PICTURE[:200])
    (tmp_path / f"images/{ids[3]}.jpg").write_bytes(HTML)
    server.asked.clear()
    server.scripts.clear()
    report = fetch(*ids)
    assert (report.fetched, report.present, report.missing) == (4, 1, ())
    asked = {path.rpartition("/")[2].removesuffix(".jpg") for path in server.asked}
    assert asked == set(ids[:4])
    assert names(tmp_path) == {f"{each}.jpg" for each in ids}  # and no list of missing ones
    assert all((tmp_path / f"images/{each}.jpg").read_bytes() == PICTURE for each in ids)


def test_requests_run_side_by_side_but_no_more_than_the_bound(server, fetch):
    first = threading.Barrier(IN_FLIGHT)
    arrivals = iter(range(10**6))

    def meet():
        if next(arrivals) < IN_FLIGHT:
            first.wait(timeout=20)
            server.closing.wait(0.3)  # all of them stay, so that one too many would be seen

    server.meeting = meet
    assert fetch(*map(signature, range(3 * IN_FLIGHT))).fetched == 3 * IN_FLIGHT
    assert server.most_in_flight == IN_FLIGHT


def test_the_rate_counts_every_request_repeated_ones_too(server, fetch, clock):
    for number in range(10):
        server.scripts[signature(number)] = [half_a_picture, ok]
    fetch(*map(signature, range(40)))
    assert server.asked.total() == 50
    assert clock.now >= 49 / RATE


def test_a_pace_spaces_requests_evenly(clock):
    rate_limit = RateLimit(4, clock, clock.sleep)
    times = []
    for _ in range(4):
        rate_limit.wait()
        times.append(clock.now)
    assert times == [0.0, 0.25, 0.5, 0.75]


def test_a_held_pace_lets_nobody_through_and_never_gets_shorter(clock):
    rate_limit = RateLimit(4, clock, clock.sleep)
    rate_limit.hold(10)
    rate_limit.hold(2)
    rate_limit.wait()
    assert clock.now == 10


def test_a_stopped_pace_wakes_and_refuses():
    rate_limit = RateLimit(4)
    rate_limit.hold(1000)
    refused = []

    def ask():
        try:
            rate_limit.wait()
        except Stopped:
            refused.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    rate_limit.stop()
    asking.join(timeout=20)
    assert refused == [True]


@pytest.mark.parametrize(
    "identifier",
    ["../../escaped", "/tmp/escaped", "scene-1", "A" * 32, "a" * 31, "a" * 32 + "\n", "a/../" * 6],
)
def test_an_id_that_is_no_signature_is_listed_and_never_asked(identifier, server, fetch, tmp_path):
    report = fetch(identifier, signature(1))
    assert report.fetched == 1
    assert listed(tmp_path) == [
        {"id": identifier, "url": "", "reason": "not a signature of 32 hexadecimal digits"}
    ]
    assert server.asked.total() == 1
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        "pairs.jsonl",
        "missing.csv",
        f"{signature(1)}.jpg",
    }


def test_a_host_that_is_down_ends_the_run_with_one_error(fetch):
    with nothing_there() as host, pytest.raises(DataError, match=r"pictures in a row failed"):
        fetch(*map(signature, range(100)), host=host)
    with nothing_there() as host:
        assert len(fetch(signature(1), host=host).missing) == 1


def test_a_few_failures_among_dead_links_do_not_count_as_down(server, fetch):
    for number in range(60):
        server.scripts[signature(number)] = [status(500 if number % 3 else 404)]
    assert len(fetch(*map(signature, range(60))).missing) == 60


def test_malformed_lines_are_counted(server, clock, tmp_path):
    row = {"scene": signature(1), "product": signature(2)}
    lines = [json.dumps(row), "{", "[1]", '{"scene": null, "product": "x"}', '{"scene": "\\ud800"}']
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    rate_limit = RateLimit(RATE, clock, clock.sleep)
    report = download_pictures(
        tmp_path / "pairs.jsonl", tmp_path / "images", rate_limit, host=server.url
    )
    assert (report.fetched, report.malformed_lines) == (2, 4)
    assert report.summary().endswith("0 missing; 4 malformed lines of pairs skipped")


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://i.pinimg.com", True),
        ("http://127.0.0.1:8080/mirror/", True),
        ("i.pinimg.com", False),
        ("ftp://i.pinimg.com", False),
        ("https://", False),
        ("https://a:b:c", False),
        ("", False),
    ],
)
def test_a_host_is_an_http_url(url, good):
    assert is_host(url) is good


@pytest.mark.parametrize(("answer", "code"), [(ok, 0), (status(404), 3)], ids=["all", "missing"])
def test_the_exit_code_says_whether_pictures_are_missing(answer, code, server, tmp_path, capsys):
    server.scripts[signature(1)] = [answer]
    arguments = ["download", write_pairs(tmp_path, signature(1), signature(2))]
    arguments += ["--images", tmp_path / "images", "--host", server.url, "--rate", 100]
    assert app([str(part) for part in arguments], standalone_mode=False) == (code or None)
    printed = capsys.readouterr()
    assert "pictures fetched" in printed.err
    assert ("missing.csv" in printed.err) == (code == 3)
    assert printed.out == ""


def test_a_wrong_host_is_wrong_usage(tmp_path):
    arguments = ["download", str(write_pairs(tmp_path, signature(1))), "--images", str(tmp_path)]
    assert CliRunner().invoke(app, [*arguments, "--host", "pinimg"]).exit_code == 2


@pytest.mark.parametrize("content", [None, "no pairs\n", ""], ids=["absent", "other", "empty"])
def test_a_file_without_pairs_is_one_clear_error(content, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    if content is not None:
        pairs.write_text(content)
    with pytest.raises(DataError, match=r"pairs\.jsonl"):
        download_pictures(pairs, tmp_path / "images", RateLimit(RATE), host="http://127.0.0.1:9")


def test_an_interrupted_download_goes_on_where_it_was(server, fetch, tmp_path):
    ids = [signature(number) for number in range(40)]
    asked, answering = threading.Event(), threading.Event()

    def answer_late(handler):
        asked.set()
        answering.wait(20)
        ok(handler)

    server.scripts = {each: [answer_late] for each in ids[10:]}
    program = "from completelook_build.cli import main; main()"
    arguments = ["download", write_pairs(tmp_path, *ids), "--images", tmp_path / "images"]
    arguments += ["--host", server.url, "--rate", 1000]
    command = [sys.executable, "-c", program, *(str(part) for part in arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        line = next(line for line in process.stderr if "stopped" in line)
        answering.set()
        assert "Traceback" not in line + process.stderr.read()
    assert process.returncode == 130
    there = names(tmp_path)
    assert 0 < len(there) < len(ids)
    assert there <= {f"{each}.jpg" for each in ids}
    assert fetch(*ids).present == len(there)
    assert names(tmp_path) == {f"{each}.jpg" for each in ids}
