"""What is measured: paints, bytes, and the time from a photo or an area to what is on screen."""

import base64
import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from completelook import CompleteLook, load_image, open_image
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

_PAINTED = """() => new Promise(done => new PerformanceObserver(list => {
    const paint = list.getEntriesByName("first-contentful-paint")[0];
    if (paint) done(paint.startTime / 1000);
}).observe({type: "paint", buffered: true}))"""
# From the choice of a file to the frame after the first product is in the page.
_UPLOADED = """bytes => new Promise(done => {
    const brought = new DataTransfer();
    const photo = Uint8Array.from(atob(bytes), each => each.charCodeAt(0));
    brought.items.add(new File([photo], "a.jpg"));
    const choice = document.querySelector("#file");
    const last = document.querySelector(".card");
    choice.files = brought.files;
    const begun = performance.now();
    choice.dispatchEvent(new Event("change", {bubbles: true}));
    (function look() {
        const first = document.querySelector(".card");
        if (!first || first === last) return requestAnimationFrame(look);
        requestAnimationFrame(() => done((performance.now() - begun) / 1000));
    })();
})"""
_STEERED = """() => new Promise(done => {
    const last = document.querySelector(".card");
    document.querySelector("[data-tool=ignore]").click();
    const begun = performance.now();
    (function look() {
        if (document.querySelector(".card") === last) return requestAnimationFrame(look);
        requestAnimationFrame(() => done((performance.now() - begun) / 1000));
    })();
})"""
_TIMEOUT_MS = 30_000


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def fresh(browser: Browser) -> Iterator[Page]:
    """A page that holds nothing in a cache, of a person who wants no motion."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(_TIMEOUT_MS)
    yield page
    context.close()


def painted_s(browser: Browser, url: str, count: int) -> list[float]:
    """Seconds until something of the page is seen, each time with empty caches."""
    times = []
    for _ in range(count):
        with fresh(browser) as page:
            page.goto(url)
            times.append(float(page.evaluate(_PAINTED)))
    return times


def weight_bytes(browser: Browser, url: str) -> int:
    """What the page weighs, pictures apart."""
    weights: list[int] = []

    def weigh(response: Any) -> None:
        if not response.headers.get("content-type", "").startswith("image/webp"):
            weights.append(len(response.body()))

    with fresh(browser) as page:
        page.on("response", weigh)
        page.goto(url, wait_until="networkidle")
    return sum(weights)


def beside_inference(
    browser: Browser, url: str, server: str, photos: Sequence[bytes]
) -> tuple[list[tuple[float, float]], str]:
    """Seconds from each photo to its products on the screen, and of its inference alone.

    And the address of the last answer.
    """
    pairs = []
    with CompleteLook(server) as look, fresh(browser) as page:
        page.goto(url)
        for photo in photos:
            tensor = load_image(photo)
            begun_s = time.perf_counter()
            look.embed_scene(tensor, regions=True)
            inference_s = time.perf_counter() - begun_s
            shown_s = float(page.evaluate(_UPLOADED, base64.b64encode(photo).decode()))
            page.wait_for_load_state("networkidle")
            pairs.append((shown_s, inference_s))
        return pairs, page.url


def steered_s(browser: Browser, url: str, count: int) -> list[float]:
    """Seconds from an area that is left out to the new order on the screen."""
    times = []
    with fresh(browser) as page:
        for _ in range(count):
            page.goto(url, wait_until="networkidle")
            times.append(float(page.evaluate(_STEERED)))
    return times


def large_photo(picture: Path, cut: int) -> bytes:
    """A photo of 12 megapixels, as phones take them; each cut makes another one."""
    buffer = io.BytesIO()
    photo = open_image(picture)
    photo = photo.crop((cut, 0, photo.width, photo.height))
    photo.resize((4000, 3000), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
