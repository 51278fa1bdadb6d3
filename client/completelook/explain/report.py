"""Reports: scenes and their ranked products as one HTML page that needs no other file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from completelook.catalog import Catalog, CategoryTable, format_model_id
from completelook.concurrency import map_in_flight
from completelook.contract import CATEGORY_SEPARATOR
from completelook.explain.maps import attention_map
from completelook.explain.overlays import overlay
from completelook.files import replacing
from completelook.images import (
    ANY_PICTURE,
    EmbeddedPicture,
    PicturePolicy,
    embedded_picture,
    open_image,
    shrunk,
    thumbnail,
)
from completelook.ranking import Ledger, Match, RankedScene

_TEMPLATE = "report.html.jinja"
SCENE_SIDE = 900
_OVERLAY_SIDE = 480
_PRODUCT_SIDE = 240
PRODUCTS_IN_FLIGHT = 8


@dataclass(frozen=True)
class Card:
    """A product as a page shows it."""

    match: Match
    name: str
    details: Mapping[str, str]  # by column
    picture: EmbeddedPicture


@dataclass(frozen=True)
class _Category:
    path: list[str]  # the parts of its name
    overlay: EmbeddedPicture
    products: list[Card]
    ledger: Ledger | None


@dataclass(frozen=True)
class _Scene:
    name: str
    photo: EmbeddedPicture
    categories: list[_Category]


def write_report(
    path: Path,
    scenes: Iterable[RankedScene],
    catalog: Catalog,
    *,
    show: Sequence[str] = (),
    policy: PicturePolicy = ANY_PICTURE,
) -> None:
    """Write the page; the scenes must be embedded with regions.

    A product stands under its name, where the catalog has one, with the columns to `show`. One
    whose picture cannot be opened, or that the policy does not allow, shows a placeholder.

    Raises CatalogError for a column the catalog lacks, ImageError for a scene that cannot be
    opened, OSError.
    """
    write_page(
        path,
        _TEMPLATE,
        scenes=_prepared(scenes, catalog, show, policy),
        catalog_name=Path(catalog.info.location).name,
        product_count=len(catalog),
        model_id=format_model_id(catalog.model_id),
    )


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write a template with its content, what is iterated piece by piece. Raises OSError."""
    environment = Environment(
        loader=PackageLoader("completelook.explain", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with replacing(path) as beside:
        environment.get_template(template).stream(content).dump(str(beside), encoding="utf-8")


def _prepared(
    scenes: Iterable[RankedScene], catalog: Catalog, show: Sequence[str], policy: PicturePolicy
) -> Iterator[_Scene]:
    """The scenes as the template shows them, one at a time: a page can be larger than memory."""
    picture_of = lru_cache(maxsize=2048)(partial(product_picture, policy=policy))
    columns = catalog.columns_to_show(show)
    name_column = next(iter(catalog.columns_to_show()), "")
    for scene in scenes:
        photo = shrunk(open_image(scene.source, policy), SCENE_SIDE)
        images = list({match.image for matches in scene.matches.values() for match in matches})
        pictures = map_in_flight(picture_of, images, in_flight=PRODUCTS_IN_FLIGHT)
        by_image = dict(zip(images, pictures, strict=True))
        yield _Scene(
            name=Path(scene.source).name,
            photo=embedded_picture(photo),
            categories=[
                _Category(
                    path=category.split(CATEGORY_SEPARATOR),
                    overlay=_overlay(scene, photo, category, catalog.categories),
                    products=[
                        card(match, columns, name_column, by_image[match.image])
                        for match in matches
                    ],
                    ledger=scene.ledgers.get(category),
                )
                for category, matches in scene.matches.items()
            ],
        )


def _overlay(
    scene: RankedScene, photo: Image.Image, category: str, categories: CategoryTable
) -> EmbeddedPicture:
    attention = attention_map(scene.embedding, categories.resolve(category))
    return embedded_picture(overlay(shrunk(photo, _OVERLAY_SIDE), attention))


def card(match: Match, columns: Sequence[str], name_column: str, picture: EmbeddedPicture) -> Card:
    """A product under its name, where it has one, with what it has in some columns."""
    details = {
        column: str(value)
        for column, value in match.shown(columns).items()
        if value is not None and column != name_column
    }
    name = match.product.get(name_column)
    return Card(match, "" if name is None else str(name), details, picture)


def product_picture(source: str, policy: PicturePolicy) -> EmbeddedPicture:
    """A product's picture, or why there is none."""
    return thumbnail(source, _PRODUCT_SIDE, policy)
