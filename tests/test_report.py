import base64
import io
import re
import threading
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from completelook import Catalog, CompleteLook, ImageError, PicturePolicy, RankedScene
from completelook.catalog import write_catalog
from completelook.explain import write_report
from fakes import CALIBRATION, MODEL_ID, FakeTriton, axis
from PIL import Image


class Page(HTMLParser):
    """The pictures and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.pictures: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def ranked(look: CompleteLook, catalog: Catalog, scene: Path) -> list[RankedScene]:
    return list(look.rank_scenes([str(scene)], catalog, top=6, regions=True))


@pytest.fixture
def html(ranked: list[RankedScene], catalog: Catalog, tmp_path: Path) -> str:
    path = tmp_path / "new" / "report.html"
    write_report(path, ranked, catalog)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_the_page_needs_no_other_file(html: str) -> None:
    for picture in Page(html).pictures:
        assert str(picture["src"]).startswith("data:image/webp;base64,")
    assert not re.findall(r"https?://|url\(|<link|<script", html)


def test_every_picture_opens_and_has_a_text(html: str) -> None:
    pictures = Page(html).pictures
    # The scene, and for each of two categories the overlay and five of six products.
    assert len(pictures) == 1 + 2 * (1 + 5)
    for picture in pictures:
        data = base64.b64decode(str(picture["src"]).partition(",")[2])
        with Image.open(io.BytesIO(data)) as opened:
            assert (str(opened.width), str(opened.height)) == (picture["width"], picture["height"])
        assert picture["alt"]


def test_an_overlay_has_the_scenes_aspect(html: str) -> None:
    overlays = [each for each in Page(html).pictures if str(each["alt"]).startswith("Where")]
    assert [(each["width"], each["height"]) for each in overlays] == [("64", "40")] * 2


def test_products_stand_in_their_order_with_id_name_and_distances(
    html: str, ranked: list[RankedScene]
) -> None:
    text = " ".join(Page(html).text.split())
    for matches in ranked[0].matches.values():
        places = [text.index(f" {match.id} ") for match in matches]
        assert places == sorted(places)
        assert f"{matches[0].distance:.3f} global {matches[0].global_distance:.3f}" in text
    assert "The rug <3>" in text


def test_the_page_of_a_calibrated_model_shows_compatibilities(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path, tmp_path: Path
) -> None:
    triton.calibration_text = CALIBRATION
    ranked = look.rank_scenes([str(scene)], catalog, top=6, regions=True, min_compatibility=0.5)
    write_report(tmp_path / "report.html", ranked, catalog)
    text = " ".join(Page((tmp_path / "report.html").read_text(encoding="utf-8")).text.split())
    assert "rug-3 compatibility 0.900 distance 1.000 global 0.000 local 2.000" in text
    # Of the chairs only the one of the scene's color: the others are 2 away from it.
    assert text.count("distance 1.500") == 2
    assert "Nothing fits" not in text


def test_a_category_where_nothing_fits_says_so(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path, tmp_path: Path
) -> None:
    triton.calibration_text = CALIBRATION
    ranked = look.rank_scenes([str(scene)], catalog, regions=True, min_compatibility=0.91)
    write_report(tmp_path / "report.html", ranked, catalog)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.text.count("Nothing fits.") == 2
    # The scene and both overlays: where the model looked is worth seeing all the same.
    assert len(page.pictures) == 3


def test_a_users_text_is_not_markup(html: str) -> None:
    assert "The rug &lt;3&gt;" in html
    assert "<3>" not in html


def test_a_product_without_a_picture_shows_a_placeholder(html: str) -> None:
    assert html.count("picture cannot<br>be opened") == 2
    assert "5.png" in html


def test_a_scene_that_is_gone_leaves_the_old_page_alone(
    ranked: list[RankedScene], catalog: Catalog, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    gone = RankedScene(str(tmp_path / "gone.jpg"), ranked[0].embedding, ranked[0].matches)
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        write_report(path, [*ranked, gone], catalog)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_pictures_of_the_catalog_keep_to_the_policy_of_the_scenes(
    look: CompleteLook, triton: FakeTriton, tmp_path: Path, scene: Path
) -> None:
    """A product's URL in a catalog must not reach an address that a scene's may not."""
    asked = []

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{host.server_port}/secret.jpg"
        products = pa.table({"id": ["p"], "category": [triton.categories[0]], "image": [url]})
        path, vectors = tmp_path / "catalog.arrow", axis(3)[None]
        write_catalog(path, products, vectors, model_id=MODEL_ID, categories=triton.categories)
        catalog = Catalog.open(path)
        ranked = list(look.rank_scenes([str(scene)], catalog, regions=True))
        page = tmp_path / "report.html"
        write_report(page, ranked, catalog, policy=PicturePolicy(deny_private=True))
        assert asked == []
        assert "the host cannot be reached" in page.read_text()
        write_report(page, ranked, catalog)
        assert asked == ["/secret.jpg"]
        host.shutdown()
