"""Reports: scenes and their ranked products as one HTML page that needs no other file."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader
from PIL import Image

from completelook.catalog.arrow import Catalog, format_model_id
from completelook.concurrency import map_in_flight
from completelook.errors import ImageError
from completelook.explain.overlay import attention_map, overlay, shrunk
from completelook.images.decode import open_image
from completelook.ranking.ranking import Match, RankedScene

_TEMPLATE = "report.html.jinja"
_SCENE_SIDE = 900
_OVERLAY_SIDE = 480
_PRODUCT_SIDE = 240
_PRODUCTS_IN_FLIGHT = 8


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture inside a page."""

    data: str  # a data URI, empty when the picture cannot be opened
    width: int = 0
    height: int = 0
    problem: str = ""


@dataclass(frozen=True)
class _Product:
    match: Match
    name: str
    picture: EmbeddedPicture


@dataclass(frozen=True)
class _Category:
    path: list[str]  # the parts of its name
    overlay: EmbeddedPicture
    products: list[_Product]


@dataclass(frozen=True)
class _Scene:
    name: str
    photo: EmbeddedPicture
    categories: list[_Category]


def write_report(path: Path, scenes: Iterable[RankedScene], catalog: Catalog) -> None:
    """Write the page; the scenes must be embedded with regions.

    A product whose picture cannot be opened shows a placeholder.

    Raises ImageError for a scene that cannot be opened, OSError.
    """
    environment = Environment(
        loader=PackageLoader("completelook.explain", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(_TEMPLATE).stream(
        scenes=_prepared(scenes, catalog),
        catalog_name=catalog.path.name,
        product_count=len(catalog),
        model_id=format_model_id(catalog.model_id),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    try:
        page.dump(str(unfinished), encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _prepared(scenes: Iterable[RankedScene], catalog: Catalog) -> Iterator[_Scene]:
    """The scenes as the template shows them, one at a time: a page can be larger than memory."""
    product_picture = lru_cache(maxsize=2048)(_product_picture)
    for scene in scenes:
        photo = shrunk(open_image(scene.source), _SCENE_SIDE)
        rows = list({match.row for matches in scene.matches.values() for match in matches})
        sources = [catalog.image_source(row) for row in rows]
        pictures = map_in_flight(product_picture, sources, in_flight=_PRODUCTS_IN_FLIGHT)
        pictures_by_row = dict(zip(rows, pictures, strict=True))
        yield _Scene(
            name=Path(scene.source).name,
            photo=embedded_picture(photo),
            categories=[
                _category(scene, photo, category, matches, pictures_by_row, catalog)
                for category, matches in scene.matches.items()
            ],
        )


def _category(
    scene: RankedScene,
    photo: Image.Image,
    category: str,
    matches: list[Match],
    pictures_by_row: Mapping[int, EmbeddedPicture],
    catalog: Catalog,
) -> _Category:
    attention = attention_map(scene.embedding, catalog.categories.resolve(category))
    return _Category(
        path=category.split("|"),
        overlay=embedded_picture(overlay(shrunk(photo, _OVERLAY_SIDE), attention)),
        products=[
            _Product(
                match=match,
                name=str(catalog.row(match.row).get("name") or ""),
                picture=pictures_by_row[match.row],
            )
            for match in matches
        ],
    )


def _product_picture(source: str) -> EmbeddedPicture:
    try:
        return embedded_picture(shrunk(open_image(source), _PRODUCT_SIDE))
    except ImageError as exc:
        return EmbeddedPicture(data="", problem=str(exc))


def embedded_picture(image: Image.Image) -> EmbeddedPicture:
    """The picture as a page without other files holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return EmbeddedPicture(f"data:image/webp;base64,{data}", image.width, image.height)
