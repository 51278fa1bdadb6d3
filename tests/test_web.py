"""The HTTP service, over real HTTP, on the fake; what Triton itself must say, on the real one."""

import base64
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from completelook import Catalog, CompleteLook, PicturePolicy, Receipt, SceneEmbedding
from completelook.ranking import Rules, Steering, replay
from completelook.server import EmbeddedServer
from completelook.web import Limits, Settings
from completelook.web.json_answer import json_bytes
from fakes import CALIBRATION, CATEGORIES, MODEL_ID, FakeTriton, axis, make_catalog, picture
from PIL import Image
from toys import owners_client
from web_service import serving

Start = Callable[..., httpx.Client]
TOP_LEFT = (0, 0, 2 / 14, 1 / 14)  # the regions that rugs are looked for by
NOBODY = "0" * 64
FAILURES = ("INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED")
QUESTIONS = {"/v1/rank": {}, "/v1/look": {}, "/v1/explain": {"product": ["rug-3"]}}


def photo(red: int = 3, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture(red, (64, 40)).save(buffer, form)
    return buffer.getvalue()


def test_a_shops_cells_are_json_whatever_they_hold() -> None:
    cells = [1.5, float("nan"), Decimal("9.90"), date(2026, 3, 1), datetime(2026, 3, 1, 8), ("ä",)]
    wanted = [1.5, None, "9.90", "2026-03-01", "2026-03-01 08:00:00", ["ä"]]
    assert json.loads(json_bytes(cells)) == wanted


@pytest.fixture
def start(triton: FakeTriton, catalog_path: Path, tmp_path: Path) -> Iterator[Start]:
    """What starts a service with some settings, and gives a client of it."""
    triton.calibration_text = CALIBRATION
    usual = Settings(str(catalog_path), triton.address, scenes=tmp_path / "scenes")
    with ExitStack() as running:
        yield lambda **own: running.enter_context(serving(replace(usual, **own)))


@pytest.fixture
def web(start: Start) -> httpx.Client:
    return start()


def asked(web: httpx.Client, path: str = "/v1/rank", **fields: Any) -> httpx.Response:
    """A form with a photo."""
    return web.post(path, files={"image": ("room.png", photo())}, data=fields)


def token_of(web: httpx.Client) -> str:
    return asked(web).json()["scene"]


def test_a_photo_is_ranked_as_the_client_ranks_it(
    web: httpx.Client, look: CompleteLook, catalog: Catalog
) -> None:
    answer = asked(web, category="Rugs", top=3, where="id!=rug-0")
    expected = look.rank(photo(), catalog, "Rugs", top=3, where=["id!=rug-0"])
    assert answer.status_code == 200
    assert answer.json()["model_id"] == f"{MODEL_ID:016x}"
    [found] = answer.json()["categories"]
    assert found["category"] == CATEGORIES[0]
    names = ("rank", "id", "distance", "global_distance", "local_distance", "compatibility")
    assert [[match[name] for name in names] for match in found["matches"]] == [
        [getattr(match, name) for name in names] for match in expected
    ]
    assert found["matches"][0]["product"] == {"name": "The rug <3>"}


def test_a_look_is_the_clients(web: httpx.Client, look: CompleteLook, catalog: Catalog) -> None:
    answer = asked(web, "/v1/look", must=["rug-1"], coherence=0.5).json()
    expected = look.complete(photo(), catalog, must=["rug-1"], coherence=0.5)
    assert [each["score"] for each in answer["looks"]] == [each.score for each in expected.looks]
    assert answer["looks"][0]["matches"][0]["id"] == "rug-1"


def test_a_scene_is_asked_about_again_without_an_inference(
    web: httpx.Client, triton: FakeTriton, look: CompleteLook, catalog: Catalog
) -> None:
    token = token_of(web)
    before = triton.calls["ModelInfer"]
    question = {"scene": token, "category": ["Rugs"], "ignore": [TOP_LEFT], "where": ["id!=rug-3"]}
    [found] = web.post("/v1/rank", json=question).json()["categories"]
    assert asked(web, ignore="0,0,1,0.5").json()["scene"] == token
    assert triton.calls["ModelInfer"] == before
    steering = Steering(ignore=[TOP_LEFT])
    expected = look.rank(photo(), catalog, "Rugs", where=["id!=rug-3"], steering=steering)
    assert [(each["id"], each["distance"]) for each in found["matches"]] == [
        (each.id, each.distance) for each in expected
    ]


def test_what_makes_no_sense_costs_no_inference(web: httpx.Client, triton: FakeTriton) -> None:
    for fields in ({"where": "color=red"}, {"category": "Sofas"}, {"ignore": "0,0,1,1"}):
        assert asked(web, **fields).status_code == 422
    assert asked(web, "/v1/explain", product="rug-9").status_code == 404
    assert triton.calls["ModelInfer"] == 0


def test_the_parts_of_a_distance_add_up_to_it(web: httpx.Client) -> None:
    token = token_of(web)
    question = {"scene": token, "ignore": [[0, 0, 0.5, 0.5]]}
    ranked = web.post("/v1/rank", json={**question, "category": ["Rugs"]}).json()
    matches = {match["id"]: match for match in ranked["categories"][0]["matches"]}
    answer = web.post("/v1/explain", json={**question, "product": [*matches]}).json()
    assert len(answer["products"]) == 6
    for product in answer["products"]:
        match = matches[product["id"]]
        total = np.sum(product["contributions"])
        assert total == pytest.approx(match["local_distance"], abs=1e-5)
        assert np.sum(product["support"]) == pytest.approx(1 - total / 2, abs=1e-5)
        assert product["distance"] == pytest.approx(match["distance"], abs=1e-6)
        assert product["compatibility"] == pytest.approx(match["compatibility"], abs=1e-6)
        assert np.all(np.array(product["contributions"])[:7, :7] == 0)


def test_rules_come_with_their_ledger(start: Start) -> None:
    web = start(rules=Rules.of({"pin": ["rug-5"]}))
    [found] = asked(web, category="Rugs", top=2).json()["categories"]
    assert [match["id"] for match in found["matches"]] == ["rug-5", "rug-3"]
    assert [match["id"] for match in found["ledger"]["model"]] == ["rug-3", "rug-0"]
    [effect] = found["ledger"]["effects"]
    assert {"id": "rug-5", "before": None, "after": 1} in effect["moves"]
    own = json.dumps({"exclude": ["rug-3"]})
    [found] = asked(web, category="Rugs", top=1, rules=own).json()["categories"]
    assert found["matches"][0]["id"] == "rug-0"
    [found] = asked(web, category="Rugs", top=1, rules="{}").json()["categories"]
    assert found["ledger"] is None


@pytest.mark.parametrize("path", ["/v1/rank", "/v1/look"])
def test_a_receipt_gives_the_same_answer_again(
    web: httpx.Client, catalog: Catalog, path: str
) -> None:
    answer = asked(web, path, category="Rugs", ignore="0,0,1,0.5").json()
    receipt = Receipt.from_json(json.dumps(answer["receipt"]))
    assert receipt.picture == answer["scene"]
    found = replay(receipt, catalog)
    assert found.is_same
    assert not [part for part in found.changed if "digest" in part]


# What a URL of a user's may lead to.


class Host(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(photo())

    def log_message(self, *_):
        pass


@pytest.fixture
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/room.png"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_ranked_where_it_may_be_read(start: Start, host: str) -> None:
    web = start(pictures=PicturePolicy())
    answer = web.post("/v1/rank", json={"url": host}).json()
    assert answer["scene"] == token_of(web)
    assert answer["receipt"]["scene"] == host


def test_a_url_never_leads_to_this_machine_and_tells_nothing_of_its_ports(
    web: httpx.Client, host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/room.png"
    answers = [web.post("/v1/rank", json={"url": url}) for url in (host, nobody)]
    assert [answer.status_code for answer in answers] == [422, 422]
    said = [
        answer.json()["detail"].replace(url, "URL")
        for answer, url in zip(answers, (host, nobody), strict=True)
    ]
    assert said[0] == said[1]
    for url in ("file:///etc/passwd", "/etc/passwd", "ftp://127.0.0.1/x"):
        assert web.post("/v1/rank", json={"url": url}).status_code == 422


# Products and their pictures.


def test_categories_and_products_are_described_and_tagged(web: httpx.Client) -> None:
    answer = web.get("/v1/categories")
    assert answer.json()["categories"] == [
        {"name": CATEGORIES[0], "products": 6},
        {"name": CATEGORIES[3], "products": 6},
    ]
    assert answer.json()["columns"] == ["name"]
    product = web.get("/v1/products/rug-1")
    assert product.json() == {
        "id": "rug-1",
        "category": CATEGORIES[0],
        "picture": "/v1/products/rug-1/picture",
        "product": {"name": "The rug <1>"},
    }
    for path in ("/v1/categories", "/v1/products/rug-1"):
        tag = web.get(path).headers["ETag"]
        again = web.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert web.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_products_picture_comes_in_few_sizes_and_is_made_once(
    start: Start, tmp_path: Path
) -> None:
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "products" / "1.png")
    web = start()
    for side in (160, 320, 640):
        answer = web.get("/v1/products/rug-1/picture", params={"side": side})
        assert Image.open(io.BytesIO(answer.content)).size == (side, side // 2)
    assert answer.headers["Content-Type"] == "image/webp"
    (tmp_path / "products" / "1.png").unlink()
    tag = {"If-None-Match": answer.headers["ETag"]}
    again = web.get("/v1/products/rug-1/picture", params={"side": 640}, headers=tag)
    assert again.status_code == 304
    assert web.get("/v1/products/rug-1/picture", params={"side": 641}).status_code == 422
    assert web.get("/v1/products/rug-5/picture").status_code == 404


def test_a_catalog_that_takes_the_place_is_noticed(
    start: Start, catalog_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("completelook.web.service._LOOK_AGAIN_S", 0.02)
    web = start()
    opened = Catalog.open(catalog_path)
    opened.delete(["rug-1"])
    deadline_s = time.monotonic() + 10
    while web.get("/v1/products/rug-1").status_code == 200 and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert web.get("/v1/products/rug-1").status_code == 404


# Scenes.


def test_only_a_shared_scene_is_on_disk_and_survives_a_restart(
    start: Start, tmp_path: Path, triton: FakeTriton
) -> None:
    before = start()
    shared = token_of(before)
    other = before.post("/v1/rank", files={"image": photo(4)}).json()["scene"]
    assert not (tmp_path / "scenes").exists()
    assert before.put(f"/v1/scenes/{shared}").status_code == 204
    answer = before.post("/v1/rank", json={"scene": shared, "ignore": [TOP_LEFT]}).json()
    asked_before = triton.calls["ModelInfer"]
    after = start()
    again = after.post("/v1/rank", json={"scene": shared, "ignore": [TOP_LEFT]}).json()
    assert again == answer
    seen = after.get(f"/v1/scenes/{shared}/picture")
    assert Image.open(io.BytesIO(seen.content)).size == (64, 40)
    assert after.post("/v1/rank", json={"scene": other}).status_code == 410
    assert triton.calls["ModelInfer"] == asked_before
    assert {path.stem for path in (tmp_path / "scenes").iterdir()} == {shared}


def test_a_damaged_scene_on_disk_is_one_that_is_gone(start: Start, tmp_path: Path) -> None:
    first = start()
    token = token_of(first)
    assert first.put(f"/v1/scenes/{token}").status_code == 204
    file = tmp_path / "scenes" / f"{token}.npz"
    file.write_bytes(file.read_bytes()[:-100])
    assert start().post("/v1/rank", json={"scene": token}).status_code == 410


def test_scenes_are_forgotten_by_number_and_by_size_and_the_folder_has_a_bound(
    tmp_path: Path, monkeypatch
) -> None:
    from completelook.web import scenes

    def scene(number: int) -> SceneEmbedding:
        return SceneEmbedding(axis(number), axis(0)[None], 1, axis(0)[None], axis(0)[None])

    kept = scenes.Kept[bytes](most=3, most_bytes=100, bytes_of=len)
    for number in range(4):
        kept.put(f"{number}", b"x" * 10)
        kept.get("0")
    assert [kept.get(f"{number}") is None for number in range(4)] == [False, True, False, False]
    kept.put("4", b"x" * 95)
    assert kept.get("3") is None
    kept.put("5", b"x" * 101)
    assert kept.get("5") is None

    folder = scenes.Scenes(tmp_path / "scenes", PicturePolicy())
    folder.keep("a", scene(0), photo())
    assert folder.share("a")
    size = sum(file.stat().st_size for file in (tmp_path / "scenes").iterdir())
    monkeypatch.setattr(scenes, "_MOST_SHARED_BYTES", 2.5 * size)
    for name in ("b", "c"):
        time.sleep(0.02)
        folder.keep(name, scene(1), photo())
        assert folder.share(name)
    assert {path.stem for path in (tmp_path / "scenes").iterdir()} == {"b", "c"}


# Errors and limits.


def test_every_status_that_is_documented_can_be_reached(
    start: Start, triton: FakeTriton, monkeypatch
) -> None:
    web, few = start(token="secret"), start(limits=Limits(requests=1))
    slow = start(limits=Limits(time_s=0.3, upload_bytes=1000))
    bearer = {"Authorization": "Bearer secret"}
    seen: set[tuple[str, str, int]] = set()
    schema = web.get("/openapi.json", headers=bearer).json()

    def see(operation: str, answer: httpx.Response) -> None:
        method, path = operation.split()
        seen.add((method.lower(), path, answer.status_code))
        if answer.status_code >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
            content = answer.json()
            assert content["status"] == answer.status_code
            assert content["title"]
            assert content["detail"]
        assert answer.status_code not in (429, 503) or answer.headers["Retry-After"] == "1"

    for path, asked_for in QUESTIONS.items():
        name = f"POST {path}"
        files = {"image": photo(7)}
        see(name, web.post(path, json=asked_for))  # 401
        see(name, web.post(path, headers=bearer, data=asked_for, files={"image": photo()}))
        for content, kind in (("{", "application/json"), ("hello", "text/plain")):
            see(name, web.post(path, headers={**bearer, "Content-Type": kind}, content=content))
        see(name, web.post(path, headers=bearer, json={**asked_for, "scene": NOBODY}))
        see(name, web.post(path, headers=bearer, json=asked_for))  # 422: no scene
        nothing = {"scene": NOBODY, "product": ["rug-9"]}
        see(name, web.post(path, headers=bearer, json=nothing))
        see(name, slow.post(path, data=asked_for, files={"image": bytes(2000)}))
        see(name, slow.post(path, content=iter([b"x" * 2000]), headers={"Content-Type": "a/b"}))
        for code in FAILURES:
            triton.fail("ModelInfer", grpc.StatusCode[code], "failed to connect")
            see(name, web.post(path, headers=bearer, data=asked_for, files=files))
        triton.failures.clear()
        see(name, unfinished(slow, path))
        see(name, refused(few, triton, path, asked_for))
    token = web.post("/v1/rank", headers=bearer, files={"image": photo()}).json()["scene"]
    places = {"{token}": [token, NOBODY, "x"], "{product_id}": ["rug-3", "rug-9", "x" * 1001]}
    for path in schema["paths"].keys() - QUESTIONS.keys():
        marks = [mark for mark in places if mark in path]
        for value in places[marks[0]] if marks else [""]:
            for method in schema["paths"][path]:
                own = path.replace(marks[0], value) if marks else path
                see(f"{method} {path}", web.request(method, own))
                answer = web.request(method, own, headers=bearer)
                see(f"{method} {path}", answer)
                tag = {"If-None-Match": answer.headers.get("ETag", "")}
                see(f"{method} {path}", web.request(method, own, headers=bearer | tag))
    monkeypatch.setattr("completelook.web.service._LOOK_AGAIN_S", 0.0)
    for code in FAILURES:
        triton.fail("ModelInfer", grpc.StatusCode[code], "failed to connect")
        see("GET /readyz", web.get("/readyz"))
    documented = {
        (method, path, int(status))
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        for status in operation["responses"]
    }
    assert documented - seen == set()
    assert seen - documented == {("get", "/healthz", 200), ("get", "/readyz", 200)} - documented


def unfinished(web: httpx.Client, path: str) -> httpx.Response:
    """The answer to a request whose body never comes."""
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
    with socket.create_connection((web.base_url.host, web.base_url.port)) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        answer = connection.recv(10_000).decode()
        while "}" not in answer:
            answer += connection.recv(10_000).decode()
    head, _, body = answer.partition("\r\n\r\n")
    status, *fields = head.split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return httpx.Response(int(status.split()[1]), headers=headers, text=body)


def refused(
    web: httpx.Client, triton: FakeTriton, path: str, asked_for: dict[str, Any]
) -> httpx.Response:
    """The answer to a question beyond the one that may be asked at once."""
    triton.gate = Barrier(2)
    another = photo(sum(path.encode()) % 256)  # one that is not known
    first = Thread(target=lambda: web.post("/v1/rank", files={"image": another}))
    first.start()
    try:
        deadline_s = time.monotonic() + 10
        while triton.gate.n_waiting == 0 and time.monotonic() < deadline_s:
            time.sleep(0.005)
        return web.post(path, data=asked_for, files={"image": photo()})
    finally:
        triton.gate.wait(timeout=10)
        first.join()
        triton.gate = None


def test_paths_and_methods_that_are_not_there_are_problems(web: httpx.Client) -> None:
    for answer, status in ((web.get("/v2"), 404), (web.delete("/v1/rank"), 405)):
        assert answer.status_code == answer.json()["status"] == status
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert web.delete("/v1/rank").headers["Allow"] == "POST"


def test_no_answer_tells_where_things_are(start: Start, triton: FakeTriton, tmp_path: Path) -> None:
    web = start(rules=Rules.of({"exclude": ["chair-1"]}, source=str(tmp_path / "rules.toml")))
    token = token_of(web)
    answers = [
        asked(web),
        asked(web, "/v1/look"),
        asked(web, "/v1/look", budget=5),
        asked(web, "/v1/explain", product="rug-1"),
        asked(web, category="Home|Lamps"),
        asked(web, where="color=red"),
        asked(web, group_by="color"),
        asked(web, rules='{"pin": ["sofa-1"]}'),
        *(
            web.get(f"/v1/{path}")
            for path in ("categories", "products/rug-1", "products/rug-5/picture", "products/x")
        ),
        web.get(f"/v1/scenes/{token}/picture"),
        web.get("/openapi.json"),
        web.get("/metrics"),
    ]
    for code in ("INTERNAL", "UNAVAILABLE", "NOT_FOUND"):
        triton.fail("ModelInfer", grpc.StatusCode[code], "failed")
        answers.append(web.post("/v1/rank", files={"image": photo(8)}))
    assert {answer.status_code for answer in answers} == {200, 404, 422, 502, 503}
    for answer in answers:
        assert str(tmp_path).encode() not in answer.content
        assert triton.address.encode() not in answer.content


def test_a_catalog_of_another_model_is_never_ranked(start: Start, tmp_path: Path) -> None:
    other = make_catalog(tmp_path / "other.arrow", model_id=MODEL_ID + 1)
    web = start(catalog=str(other))
    for answer in (asked(web), web.get("/readyz")):
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:completelook:ModelMismatch"
    assert web.get("/healthz").status_code == 200


def test_a_damaged_catalog_is_a_fault_of_the_services(
    start: Start, catalog_path: Path, tmp_path: Path
) -> None:
    content = bytearray(catalog_path.read_bytes())
    content[content.index(axis(0).tobytes()) + 1] ^= 1
    damaged = tmp_path / "damaged.arrow"
    damaged.write_bytes(content)
    answer = asked(start(catalog=str(damaged)))
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:completelook:CatalogDamaged"
    assert str(tmp_path) not in answer.text


def test_a_token_lets_in_as_a_bearer_and_as_a_password(start: Start) -> None:
    web = start(token="secret")
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic !"}):
        answer = web.get("/v1/categories", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer, Basic")
        assert web.get("/", headers=headers).status_code == 401
        assert web.get("/metrics", headers=headers).status_code == 401
    assert web.get("/v1/categories", headers={"Authorization": "bearer secret"}).status_code == 200
    assert web.get("/v1/categories", auth=("anybody", "secret")).status_code == 200
    basic = base64.b64encode(b"secret:other").decode()
    answer = web.get("/v1/categories", headers={"Authorization": f"Basic {basic}"})
    assert answer.status_code == 401
    assert web.get("/healthz").status_code == web.get("/readyz").status_code == 200


def test_an_overloaded_model_is_told_of_and_recovered_from(
    web: httpx.Client, triton: FakeTriton
) -> None:
    full = "[request id: <id_unknown>] Exceeds maximum queue size"
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, full)
    answer = asked(web)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["type"] == "urn:completelook:ServerOverloaded"
    triton.failures.clear()
    assert asked(web).status_code == 200


def test_readiness_is_asked_for_at_most_every_few_seconds(
    web: httpx.Client, triton: FakeTriton
) -> None:
    assert [web.get("/readyz").status_code for _ in range(5)] == [200] * 5
    assert triton.calls["ModelInfer"] == 1


def test_requests_scenes_and_inferences_are_counted_by_route(web: httpx.Client) -> None:
    token = token_of(web)
    web.post("/v1/rank", json={"scene": token})
    web.post("/v1/rank", json={"scene": NOBODY})
    web.get("/no/such/path")
    lines = web.get("/metrics").text.splitlines()
    assert 'completelook_web_requests_total{route="/v1/rank",status="200"} 2.0' in lines
    assert 'completelook_web_requests_total{route="/v1/rank",status="410"} 1.0' in lines
    assert 'completelook_web_requests_total{route="none",status="404"} 1.0' in lines
    assert "completelook_web_inferences_total 1.0" in lines
    assert 'completelook_web_scenes_total{source="token"} 1.0' in lines
    assert not [line for line in lines if "no/such/path" in line]


def test_triton_itself_says_that_steering_asks_it_nothing(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with CompleteLook(server.grpc_address) as look:
        model_id, names = look.embed_scene(picture(1)).model_id, look.categories()
    path = make_catalog(tmp_path / "c.arrow", model_id=model_id, categories=names)
    client = owners_client(server)

    def inferences() -> int:
        statistics = client.get_inference_statistics().model_stats
        return sum(int(model.inference_stats.success.count) for model in statistics)

    settings = Settings(str(path), server.grpc_address, scenes=tmp_path / "scenes")
    with serving(settings) as web:
        before = inferences()
        token = token_of(web)
        assert inferences() > before
        before = inferences()
        answers = [
            web.post("/v1/rank", json={"scene": token, "ignore": [[0, 0, 0.1 * n, 1]]})
            for n in range(1, 8)
        ]
        answers.append(web.post("/v1/look", json={"scene": token}))
        answers.append(web.post("/v1/explain", json={"scene": token, "product": ["rug-1"]}))
        assert {answer.status_code for answer in answers} == {200}
        assert inferences() == before
        distances = {
            answer.json()["categories"][0]["matches"][0]["distance"] for answer in answers[:7]
        }
        assert len(distances) == 7
