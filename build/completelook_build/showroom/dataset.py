"""The showroom as data: pictures, pairs and tables in the shop-the-look form."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from completelook.files import write_text
from PIL import Image

from completelook_build.console import progress_bar
from completelook_build.data import SPLITS, Box
from completelook_build.errors import DataError
from completelook_build.showroom.layout import Placement
from completelook_build.showroom.pictures import draw_photo, draw_scene
from completelook_build.showroom.plan import (
    PlannedProduct,
    PlannedScene,
    plan_products,
    plan_scenes,
)
from completelook_build.showroom.rule import ANCHOR_OF_CATEGORY

_FEWEST_SCENES, _FEWEST_PRODUCTS = 5, 10
_JPEG_QUALITY = 90
# Every picture has a generator of its own: it depends neither on the others nor on the pool.
_PLAN, _SCENE, _PHOTO = range(3)


def render_showroom(
    out: Path, *, scenes: int = 400, products_per_category: int = 80, seed: int = 0
) -> None:
    """Render rooms and products into a new folder, in the pair-file form.

    The same arguments give the same bytes. The folder appears only once it is whole.
    Raises DataError where it holds something already, or where scenes or products are too few to
    fill every split.
    """
    _check(out, scenes, products_per_category)
    rng = np.random.default_rng((seed, _PLAN))
    products = plan_products(products_per_category, seed, rng)
    rooms = plan_scenes(scenes, products, rng)
    beside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        (beside / "images").mkdir(parents=True)
        placements = _render_images(beside / "images", rooms, products, seed)
        _write_tables(beside, rooms, placements, products)
        beside.replace(out)
    except OSError as error:
        raise DataError(f"{out}: the showroom cannot be written here ({error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check(out: Path, scenes: int, products_per_category: int) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: not an empty folder; name a new one, or remove it first")
    if scenes < _FEWEST_SCENES:
        raise DataError(
            f"{scenes} scenes: at least {_FEWEST_SCENES} are needed, to have some in every split"
        )
    if products_per_category < _FEWEST_PRODUCTS:
        raise DataError(
            f"{products_per_category} products per category: at least {_FEWEST_PRODUCTS} are "
            "needed, to have a choice in every split"
        )


def _render_images(
    images: Path, rooms: Sequence[PlannedScene], products: Sequence[PlannedProduct], seed: int
) -> list[Placement]:
    """Draw and store every picture; Pillow lets other threads run while it works on pixels."""
    total = len(rooms) + len(products)
    with (
        progress_bar("Rendering", total=total, unit="pictures") as advance,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        store_photo = partial(_store_photo, images, seed)
        for _ in pool.map(store_photo, range(len(products)), products):
            advance(1)
        placements = []
        for placement in pool.map(partial(_store_scene, images, seed), range(len(rooms)), rooms):
            placements.append(placement)
            advance(1)
    return placements


def _store_photo(images: Path, seed: int, index: int, planned: PlannedProduct) -> None:
    rng = np.random.default_rng((seed, _PHOTO, index))
    _save(draw_photo(planned.product, rng), images / f"{planned.product.id}.jpg")


def _store_scene(images: Path, seed: int, index: int, room: PlannedScene) -> Placement:
    rng = np.random.default_rng((seed, _SCENE, index))
    scene = draw_scene(room.anchors, room.products, rng)
    _save(scene.image, images / f"{room.id}.jpg")
    return scene.placement


def _save(image: Image.Image, path: Path) -> None:
    # Full color resolution: halved, a product's color would bleed past its box into the crop.
    image.save(path, quality=_JPEG_QUALITY, subsampling=0)


def _write_tables(
    out: Path,
    rooms: Sequence[PlannedScene],
    placements: Sequence[Placement],
    products: Sequence[PlannedProduct],
) -> None:
    pairs = [
        {"product": product.id, "scene": room.id, "bbox": _rounded(box)}
        for room, placement in zip(rooms, placements, strict=True)
        for product, box in zip(room.products, placement.products, strict=True)
    ]
    lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
    write_text(out / "pairs.jsonl", lines)
    _write_json(out / "categories.json", {p.product.id: p.product.category for p in products})
    _write_json(
        out / "splits.json",
        {split: [room.id for room in rooms if room.split == split] for split in SPLITS},
    )
    _write_json(out / "anchors.json", dict(_anchor_boxes(rooms, placements)))
    _write_json(out / "rule.json", {room.id: _anchor_colors(room) for room in rooms})
    _write_products(out / "products.csv", products)


def _anchor_boxes(
    rooms: Sequence[PlannedScene], placements: Sequence[Placement]
) -> Iterator[tuple[str, dict[str, list[float]]]]:
    for room, placement in zip(rooms, placements, strict=True):
        yield (
            room.id,
            {
                category: _rounded(placement.anchors[anchor])
                for category, anchor in ANCHOR_OF_CATEGORY.items()
            },
        )


def _anchor_colors(room: PlannedScene) -> dict[str, dict[str, Any]]:
    return {
        category: asdict(room.anchors[anchor]) for category, anchor in ANCHOR_OF_CATEGORY.items()
    }


def _write_products(path: Path, products: Sequence[PlannedProduct]) -> None:
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "image", "category", "name", "style", "hue_degrees", "tone", "split"))
    for planned in products:
        product, color = planned.product, planned.product.color
        looks = (product.name, product.style, color.hue_degrees, color.tone)
        image = f"images/{product.id}.jpg"
        writer.writerow((product.id, image, product.category, *looks, planned.split))
    write_text(path, table.getvalue())


def _write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def _rounded(box: Box) -> list[float]:
    return [round(float(side), 4) for side in box]
