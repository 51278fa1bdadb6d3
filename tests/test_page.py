"""The page in a real browser, on the real tritonserver; skipped where there is no Chromium.

One browser and one service for all: each test has a page of its own.
"""

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from completelook import CompleteLook, index
from completelook.server import EmbeddedServer
from completelook.web import Settings
from PIL import Image, ImageDraw
from playwright.sync_api import (
    Browser,
    FilePayload,
    HttpCredentials,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)
from web_service import serving

Scheme = Literal["light", "dark"]
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium, for the page's tests"
)
CATEGORIES = ("Decor|Rugs", 'Décor|"Lamps"', "Sofas")
WIDE: ViewportSize = {"width": 1280, "height": 860}
NARROW: ViewportSize = {"width": 360, "height": 740}


def drawn(path: Path, seed: int, size: tuple[int, int]) -> None:
    """A picture of some shapes in some colors."""
    image = Image.new("RGB", size, (255 - seed % 40, 240, 200 + seed % 50))
    draw = ImageDraw.Draw(image)
    for place in range(4):
        left, top = (seed * 37 + place * 61) % size[0] // 2, (seed * 53 + place * 29) % size[1] // 2
        color = tuple((seed * factor + 80 * place) % 256 for factor in (71, 113, 151))
        draw.rectangle((left, top, left + size[0] // 3, top + size[1] // 3), fill=color)
    image.save(path)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "living room.jpg"
    drawn(path, 5, (640, 480))
    return path


@pytest.fixture(scope="module")
def shop(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of 45 drawn products, with prices, brands and stock."""
    folder = tmp_path_factory.mktemp("shop")
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "image", "category", "name", "price", "brand", "in_stock"))
        for number in range(45):
            drawn(folder / f"{number}.png", number, (60, 60))
            name, brand = f"Thing & {number}", ("Norrby", "Haus <b>Hof</b>")[number % 2]
            price, stock = f"{10 + 3 * number}.50 EUR", ("true", "false")[number % 3 == 0]
            row = (
                f"p/{number}",
                f"{number}.png",
                CATEGORIES[number % 3],
                name,
                price,
                brand,
                stock,
            )
            table.writerow(row)
    path = folder / "catalog.arrow"
    with CompleteLook(server.grpc_address) as look:
        index(folder / "products.csv", path, look)
    return path


@pytest.fixture(scope="module")
def address(
    server: EmbeddedServer, shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    settings = Settings(
        catalog=str(shop), server=server.grpc_address, scenes=tmp_path_factory.mktemp("scenes")
    )
    with serving(settings) as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """An empty page, which in the end has logged no error and asked no other host."""
    context = browser.new_context(viewport=WIDE, base_url=address, reduced_motion="reduce")
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto("/")
    yield opened
    context.close()
    assert said == []
    assert asked
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)


def upload(page: Page, photo: Path | FilePayload) -> None:
    page.set_input_files("#file", photo)
    expect(page.locator(".card").first).to_be_visible()


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def shown(page: Page) -> list[str]:
    """The ids of the products on the page, in their order."""
    return page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.id)")


def settled(page: Page) -> None:
    """No answer is waited for."""
    page.wait_for_load_state("networkidle")
    expect(page.locator("#answer")).not_to_have_attribute("aria-busy", "true")


def test_a_photo_that_is_chosen_leads_to_products(page: Page, room: Path) -> None:
    upload(page, room)
    assert len(shown(page)) == 12
    card = page.locator(".card").first
    expect(card.locator("h2")).to_have_text(re.compile(r"Thing & \d+"))
    expect(card.locator(".price")).to_contain_text("EUR")
    expect(card.locator(".fit")).to_have_text(re.compile("fits|fit"))
    width = page.locator("#photo").evaluate("it => it.decode().then(() => it.naturalWidth)")
    assert width == 640
    expect(page.get_by_label("What you call this photo")).to_have_value("living room")


def test_a_photo_can_be_dropped_or_pasted(page: Page, room: Path) -> None:
    bring = """([bytes, kind]) => {
        const brought = new DataTransfer();
        brought.items.add(new File([new Uint8Array(bytes)], "a.jpg", {type: "image/jpeg"}));
        const options = {bubbles: true, cancelable: true};
        document.body.dispatchEvent(kind === "drop"
            ? new DragEvent(kind, {...options, dataTransfer: brought})
            : new ClipboardEvent(kind, {...options, clipboardData: brought}));
    }"""
    for kind in ("drop", "paste"):
        page.goto("/")
        page.evaluate(bring, [[*room.read_bytes()], kind])
        expect(page.locator(".card").first).to_be_visible()


def test_a_file_that_is_no_photo_gets_a_message(page: Page, room: Path) -> None:
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no"})
    expect(page.get_by_role("alert")).to_contain_text("cannot be read as a photo")
    upload(page, room)
    expect(page.get_by_role("alert")).to_have_count(0)
    before = shown(page)
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no"})
    expect(page.get_by_role("alert")).to_contain_text("cannot be read as a photo")
    assert shown(page) == before


def test_a_product_lights_up_its_own_map(page: Page, room: Path) -> None:
    upload(page, room)
    drawing = "() => document.querySelector('#spotlight').toDataURL()"
    blank = page.evaluate(drawing)
    page.locator(".card").nth(0).hover()
    expect(page.locator("#lit")).to_have_text(re.compile("What speaks for Thing & "))
    first = page.evaluate(drawing)
    assert first != blank
    page.locator(".show").nth(3).focus()
    assert page.evaluate(drawing) not in (first, blank)
    expect(page.locator(".photo")).to_have_class(re.compile("is-lit"))


def test_what_is_drawn_on_the_photo_changes_the_order(page: Page, room: Path) -> None:
    upload(page, room)
    before = shown(page)
    page.get_by_role("button", name="Ignore this").click()
    edges = page.locator("#stage .photo").bounding_box()
    page.mouse.move(edges["x"] + 5, edges["y"] + 5)
    page.mouse.down()
    page.mouse.move(edges["x"] + edges["width"] * 0.6, edges["y"] + edges["height"] * 0.9)
    page.mouse.up()
    page.wait_for_url(re.compile("ignore="))
    settled(page)
    assert shown(page) != before
    page.get_by_role("button", name="Take this area away").click()
    page.wait_for_url(lambda url: "ignore=" not in url)
    assert shown(page) == before


def test_areas_are_made_moved_and_removed_by_keys(page: Page, room: Path) -> None:
    upload(page, room)
    page.get_by_role("button", name="Look here").focus()
    page.keyboard.press("Enter")
    area = page.locator("#areas .area")
    expect(area).to_be_focused()
    expect(area).to_have_attribute("aria-label", re.compile("Look here: 30 to 70 percent across"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.wait_for_url(re.compile("focus=0.32%2C0.3%2C0.72%2C0.72"))
    page.keyboard.press("Delete")
    page.wait_for_url(lambda url: "focus=" not in url)
    expect(page.get_by_role("button", name="Look here")).to_be_focused()


def test_arrow_keys_open_the_tabs(page: Page, room: Path) -> None:
    upload(page, room)
    open_tab(page, "Rugs")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Lamps")).to_be_focused()
    expect(page.get_by_role("tab", name="Lamps")).to_have_attribute("aria-selected", "true")
    page.go_back()
    expect(page.get_by_role("tab", name="Rugs")).to_have_attribute("aria-selected", "true")


def test_conditions_are_controls_of_the_columns(page: Page, room: Path) -> None:
    upload(page, room)
    page.get_by_text("Narrow down").click()
    page.get_by_label("brand").select_option("Haus <b>Hof</b>")
    page.wait_for_url(re.compile("is-brand="))
    page.get_by_label("price, at most").fill("80")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("max-price=80"))
    settled(page)
    numbers = [int(each.removeprefix("p/")) for each in shown(page)]
    assert numbers
    assert all(number % 2 and 10 + 3 * number < 80 for number in numbers)
    page.get_by_label("price, at most").fill("1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing here meets what you ask for")).to_be_visible()


def test_a_pin_shows_its_cost_and_can_be_undone(page: Page, room: Path) -> None:
    upload(page, room)
    before = shown(page)
    pinned = page.locator(".card").nth(7)
    name = pinned.locator("h2").inner_text()
    pinned.get_by_role("button", name="Pin ").click()
    ledger = page.locator("#ledger")
    expect(ledger).to_contain_text(f"Pinned {name}")
    expect(ledger).to_contain_text("Now at 1, by the model alone at 8.")
    assert shown(page)[:8] == [before[7], *before[:7]]
    page.get_by_label("What you call this photo").fill("Study")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("room=Study"))
    settled(page)
    expect(ledger).to_contain_text(f"Pinned {name}")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".card")).to_have_count(15)
    page.locator(".card").nth(14).get_by_role("button", name="Pin ").click()
    expect(ledger).to_contain_text("by the model alone at 15.")
    page.locator(".card").nth(2).get_by_role("button", name="Hide ").click()
    expect(ledger).to_contain_text(re.compile(r"What is shown fits [0-9.]+ of 1 less on average"))
    for button in ("Undo: Hidden", "Undo: Pinned", "Undo: Pinned"):
        page.get_by_role("button", name=button).first.click()
        settled(page)
    assert shown(page)[:12] == before


def test_the_look_keeps_to_a_budget(page: Page, room: Path) -> None:
    upload(page, room)
    open_tab(page, "The whole look")
    expect(page.locator(".card")).to_have_count(3)
    slider = page.get_by_label("All together at most")
    dear = float(page.locator(".sum b").inner_text().removesuffix(" EUR"))
    budget = int(dear) - 2
    slider.fill(str(budget))
    page.wait_for_url(re.compile(f"budget={budget}"))
    settled(page)
    assert float(page.locator(".sum b").inner_text().removesuffix(" EUR")) <= budget


def test_a_look_can_be_had_for_the_least_that_the_slider_offers(page: Page, room: Path) -> None:
    upload(page, room)
    open_tab(page, "The whole look")
    page.get_by_role("button", name="Pin Thing").first.click()
    settled(page)
    slider = page.get_by_label("All together at most")
    least = slider.get_attribute("min") or ""
    slider.fill(least)
    page.wait_for_url(re.compile(f"budget={least}"))
    settled(page)
    expect(page.locator(".problem")).to_have_count(0)
    assert float(page.locator(".sum b").inner_text().removesuffix(" EUR")) <= int(least)


def test_picks_of_several_rooms_are_saved_as_csv(page: Page, room: Path, tmp_path: Path) -> None:
    for name in ("=Salon", "Study"):
        page.goto("/")
        upload(page, room)
        page.get_by_label("What you call this photo").fill(name)
        page.get_by_label("What you call this photo").press("Tab")
        page.wait_for_url(re.compile("room=" + name.replace("=", "%3D")))
        settled(page)
        page.get_by_role("button", name="Pick Thing").nth(len(name) % 2).click()
    page.get_by_role("button", name="Picks 2").click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Save as CSV").click()
    downloading.value.save_as(tmp_path / "picks.csv")
    with (tmp_path / "picks.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["room"] for row in rows] == ["'=Salon", "Study"]
    assert all(row["price"].endswith(" EUR") and row["brand"] for row in rows)


def test_a_link_shows_the_same_answer_again(page: Page, room: Path) -> None:
    upload(page, room)
    open_tab(page, "Lamps")
    page.get_by_role("button", name="Hide Thing").first.click()
    page.wait_for_url(re.compile("exclude="))
    settled(page)
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    link, before = page.locator("#address").input_value(), shown(page)
    page.goto(link)
    assert shown(page) == before
    page.goto(link.replace("scene=", "scene=0"))
    expect(page.get_by_role("alert")).to_contain_text("kept here no longer")


def test_axe_finds_no_violation_in_light_and_dark_wide_and_narrow(page: Page, room: Path) -> None:
    axe = Axe()

    def check(*settings: tuple[ViewportSize, Scheme]) -> None:
        for size, scheme in settings:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme)
            assert axe.run(page).response["violations"] == [], (size, scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]

    check((WIDE, "light"), (NARROW, "dark"))
    upload(page, room)
    page.get_by_text("Narrow down").click()
    page.locator(".more summary").first.click()
    page.locator(".card").nth(2).get_by_role("button", name="Pin ").click()
    expect(page.locator("#ledger")).to_contain_text("Pinned")
    check((WIDE, "light"), (WIDE, "dark"), (NARROW, "light"), (NARROW, "dark"))
    open_tab(page, "The whole look")
    check((WIDE, "dark"), (NARROW, "light"))


def test_the_page_is_light(page: Page) -> None:
    weights: list[int] = []
    page.on("response", lambda response: weights.append(len(response.body())))
    page.goto("/")
    assert sum(weights) < 300_000


def test_a_phone_is_asked_for_its_camera(page: Page) -> None:
    camera = page.locator("input[type=file][capture=environment]")
    expect(camera).to_have_attribute("accept", "image/*")


def test_a_browser_lets_a_person_in_by_the_token_as_password(
    browser: Browser, server: EmbeddedServer, shop: Path, tmp_path: Path, room: Path
) -> None:
    settings = Settings(
        catalog=str(shop), server=server.grpc_address, scenes=tmp_path, token="secret"
    )
    with serving(settings) as client:
        credentials: HttpCredentials = {"username": "anybody", "password": "secret"}
        context = browser.new_context(base_url=str(client.base_url), http_credentials=credentials)
        page = context.new_page()
        page.goto("/")
        upload(page, room)
        width = page.locator("#photo").evaluate("it => it.decode().then(() => it.naturalWidth)")
        assert width == 640
        context.close()
