"""What a notebook shows of an answer."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from completelook import Catalog, CompleteLook, Ranking
from completelook.ranking import Look, Looks, Match
from fakes import CALIBRATION, FakeTriton
from PIL import Image

VOID = {"img", "br"}


class Shown(HTMLParser):
    """The pictures and the text of a well-formed piece of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pictures: list[dict[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def match(rank: int = 1, **changes: Any) -> Match:
    numbers = {"distance": 1.0, "global_distance": 0.5, "local_distance": 1.5}
    fields = {"id": f"p{rank}", "category": "Home|Rugs", "image": "gone.jpg", "compatibility": None}
    return Match(**{"rank": rank, **numbers, **fields, **changes})


def test_a_scene_shows_its_photo_and_the_first_products_with_pictures_in_the_page(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    [found] = look.rank_scenes([str(scene)], catalog)
    html = found._repr_html_()
    shown = Shown(html)
    # The scene, and of two categories the first five rugs and chairs, of which all have pictures.
    assert len(shown.pictures) == 1 + 2 * 5
    for picture in shown.pictures:
        data = base64.b64decode(str(picture["src"]).removeprefix("data:image/webp;base64,"))
        with Image.open(io.BytesIO(data)) as opened:
            assert (str(opened.width), str(opened.height)) == (picture["width"], picture["height"])
    assert not re.findall(r"https?://|url\(|<link|<script|<style", html)
    text = " ".join(shown.text.split())
    assert "Home|Rugs rank product distance global local 1 The rug <3> rug-3 1.0000 0.0000" in text
    assert text.count("and 1 more") == 2
    assert len(html) < 20_000


def test_a_ranking_shows_all_of_a_few_products(look: CompleteLook, catalog: Catalog, scene) -> None:
    text = Shown(look.rank(str(scene), catalog, "Rugs")._repr_html_()).text
    assert [f"rug-{red}" in text for red in range(6)] == [True] * 6
    assert "no picture" in text  # of the one that has none
    assert "more" not in text
    assert "and 5 more" in Shown(Ranking(map(match, range(1, 26)))._repr_html_()).text


def test_compatibility_is_shown_of_a_calibrated_model(
    look: CompleteLook, triton: FakeTriton, catalog: Catalog, scene: Path
) -> None:
    triton.calibration_text = CALIBRATION
    found = look.rank(str(scene), catalog, "Rugs", top=1)
    assert " compatibility " in Shown(found._repr_html_()).text
    assert " 0.9000 " in Shown(found._repr_html_()).text


def test_where_nothing_fits_it_says_so() -> None:
    assert Shown(Ranking()._repr_html_()).text == " Nothing fits."


def test_what_rules_have_moved_is_said() -> None:
    assert "moved by pin p1" in Shown(Ranking([match(moved_by=("pin p1",))])._repr_html_()).text


EVIL = '<script>alert("1")</script>&\'">'


@pytest.mark.parametrize(
    "image", ["gone.jpg", f"https://shop.test/{EVIL}.jpg"], ids=["file", "URL"]
)
def test_a_users_text_is_not_markup(image: str) -> None:
    evil = match(id=EVIL, category=EVIL, image=image, product={"Title": EVIL}, moved_by=(EVIL,))
    look = Look((evil,), 1.0, 1.0, 0.0, 3.5, 0.0)
    for html in (
        Ranking([evil])._repr_html_(),
        Looks((look,), None, None, (), EVIL)._repr_html_(),
    ):
        assert "<script" not in html
        assert html.count("&lt;script&gt;") >= 3
        Shown(html)


def test_a_picture_at_a_url_is_the_browsers_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("completelook.images.decode.download", pytest.fail)
    [picture] = Shown(Ranking([match(image="https://shop.test/a.jpg")])._repr_html_()).pictures
    assert (picture["src"], picture["loading"]) == ("https://shop.test/a.jpg", "lazy")


def test_looks_show_a_table_each_with_its_price(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    looks = look.complete(str(scene), catalog)
    text = " ".join(Shown(looks._repr_html_()).text.split())
    assert len(looks.looks) == text.count("Look ") == text.count("Rugs The rug") == 3
    priced = Looks((Look((match(),), 1.0, 1.0, 0.0, 1234.5, 0.0),), None, None, (), "EUR")
    assert "Look 1: score 1.0000, 1,234.50 EUR" in Shown(priced._repr_html_()).text
