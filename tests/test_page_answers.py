"""What the page answers, without a browser: over real HTTP, on the fake, worked out by hand."""

import base64
import html
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import numpy as np
import pytest
from completelook.ranking import Rules
from completelook.web import Settings
from fakes import CALIBRATION, CATEGORIES, FakeTriton
from web_service import serving

Start = Callable[..., httpx.Client]
RUGS, CHAIRS = CATEGORIES[0], CATEGORIES[-1]
FIRST_REGION = f"0,0,{1 / 14},{1 / 14}"


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


def uploaded(web: httpx.Client, photo: bytes, query: str = "") -> httpx.Response:
    return web.post(f"/?{query}", files={"image": ("My room.png", photo)})


def token_of(web: httpx.Client, scene: Path) -> str:
    query = urlsplit(uploaded(web, scene.read_bytes()).headers["location"]).query
    return parse_qs(query)["scene"][0]


def page_of(web: httpx.Client, scene: Path, tab: str = RUGS, **fields: str | list[str]) -> str:
    answer = web.get("/", params={"scene": token_of(web, scene), "tab": tab, **fields})
    assert answer.status_code == 200
    return answer.text


def shown(page: str) -> list[str]:
    return re.findall(r'data-id="([^"]*)"', page)


def words(page: str) -> list[str]:
    return re.findall(r"</meter>([^<]*)</p>", page)


def problem(page: str) -> str:
    found = re.search(r'role="alert">.*?<span>(.*?)</span>', page)
    return html.unescape(found[1]) if found else ""


def test_a_photo_leads_to_its_page_and_keeps_what_was_asked(web: httpx.Client, scene: Path) -> None:
    answer = uploaded(web, scene.read_bytes(), "is-brand=ACME&pin=rug-1&ignore=0,0,1,1")
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query.keys() == {"scene", "room", "is-brand"}
    assert query["room"] == ["My room"]


def test_products_stand_in_the_clients_order_with_words(web: httpx.Client, scene: Path) -> None:
    page = page_of(web, scene)
    assert shown(page) == ["rug-3", "rug-0", "rug-1", "rug-2", "rug-4", "rug-5"]
    assert words(page) == ["fits beautifully", "could fit", "could fit", *["hardly fits"] * 3]
    assert "The rug &lt;3&gt;" in page
    assert "<3>" not in page


def test_the_category_that_fits_best_is_opened(web: httpx.Client, scene: Path) -> None:
    assert shown(page_of(web, scene, "", exclude="rug-3"))[0].startswith("chair-3")


def test_a_map_is_what_each_region_says_for_a_product(web: httpx.Client, scene: Path) -> None:
    maps = re.findall(r'data-id="([^"]*)" data-map="([^"]*)"', page_of(web, scene))
    found = {id_: np.frombuffer(base64.b64decode(text), np.uint8) for id_, text in maps}
    for id_, region in (("rug-0", 0), ("rug-1", 1)):
        assert found[id_].nonzero()[0].tolist() == [region]
        assert found[id_][region] == 255
    assert found["rug-3"].tolist() == [0] * 196  # It fits the scene as a whole.


def test_an_area_that_is_ignored_changes_the_order_without_an_inference(
    web: httpx.Client, scene: Path, triton: FakeTriton
) -> None:
    token = token_of(web, scene)
    asked = triton.calls["ModelInfer"]
    page = web.get("/", params={"scene": token, "tab": RUGS, "ignore": FIRST_REGION}).text
    assert shown(page)[:3] == ["rug-1", "rug-3", "rug-0"]
    assert f'value="{FIRST_REGION}"' in page
    assert triton.calls["ModelInfer"] == asked


def test_where_nothing_fits_it_says_so(web: httpx.Client, scene: Path) -> None:
    page = page_of(web, scene, exclude=["rug-3", "rug-0", "rug-1"])
    assert "Nothing you sell fits this photo." in page
    assert "Nothing you sell fits this photo." not in page_of(web, scene)


def test_an_uncalibrated_model_says_so_and_uses_no_words(
    start: Start, scene: Path, triton: FakeTriton
) -> None:
    triton.calibration_text = None
    page = page_of(start(), scene)
    assert "this model is not calibrated" in page
    assert "<meter" not in page
    assert shown(page)[0] == "rug-3"


def test_the_ledger_tells_what_a_pin_and_the_shop_change(start: Start, scene: Path) -> None:
    rules = Rules.of({"category": {RUGS: {"exclude": ["rug-0"]}}})
    page = page_of(start(rules=rules), scene, pin=["rug-4", "chair-1"])
    assert shown(page) == ["rug-4", "rug-3", "rug-1", "rug-2", "rug-5"]
    texts = re.sub(r"<[^>]*>", " ", page[page.index('id="ledger"') :])
    told = html.unescape(" ".join(texts.split()))
    # Its compatibility is 0.1, that of rug-3 is 0.9.
    assert "Pinned The rug <4> Now at 1, by the model alone at 5. Fits 0.800 less" in told
    assert "Pinned The chair <1> Changes nothing here." in told
    assert "By the shop exclude rug-0" in told


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("ignore=0,0,1", "expected LEFT,TOP,RIGHT,BOTTOM"),
        ("ignore=0,0,1,1", "Nothing of the photo is left"),
        ("tab=Boats", "holds no products of 'Boats'"),
        ("min-price=3", "no column 'price'"),
        ("pin=boat-1", "boat-1"),
    ],
    ids=["box", "all of it", "category", "column", "product"],
)
def test_a_link_that_asks_what_cannot_be_is_answered_by_a_message(
    web: httpx.Client, scene: Path, query: str, told: str
) -> None:
    answer = web.get(f"/?scene={token_of(web, scene)}&{query}")
    assert answer.status_code == 200
    assert told in problem(answer.text)


def test_what_is_no_photo_and_a_scene_that_is_gone_are_told(web: httpx.Client) -> None:
    for answer in (uploaded(web, b"no"), uploaded(web, b""), web.post("/")):
        assert answer.status_code == 200
        assert "cannot be read as a photo" in problem(answer.text)
    gone = web.get("/", params={"scene": "0" * 64, "is-brand": "ACME"})
    assert "kept here no longer" in problem(gone.text)
    assert "is-brand=ACME" in gone.text


def test_a_model_that_is_down_is_the_services_fault(
    web: httpx.Client, scene: Path, triton: FakeTriton
) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, "at 10.0.0.1")
    answer = uploaded(web, scene.read_bytes())
    assert answer.status_code == 503
    assert problem(answer.text)
    assert "10.0.0.1" not in answer.text


def test_nothing_inline_runs_and_nothing_comes_from_elsewhere(
    web: httpx.Client, scene: Path
) -> None:
    page = page_of(web, scene)
    assert not re.search(r'<script(?! type="module" src="/static/)|<style| style=| on\w+="', page)
    assert not re.search(r'(?:src|href)="(?![/#])', page)
    headers = web.get("/").headers
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert headers["cache-control"] == "private, no-cache"


def test_files_are_kept_for_good_and_others_are_not_there(web: httpx.Client) -> None:
    address = re.search(r'href="(/static/[^"]*\.css)"', web.get("/").text)[1]
    style = web.get(address)
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in style.headers["cache-control"]
    for missing in ("/static/0/style.css", address.replace("style.css", "..%2froutes.py")):
        assert web.get(missing).status_code == 404
