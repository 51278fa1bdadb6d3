"""The look's page: a scene and the sets of products that suit it, as one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from completelook.catalog import Catalog, format_model_id
from completelook.concurrency import map_in_flight
from completelook.explain.report import (
    PRODUCTS_IN_FLIGHT,
    SCENE_SIDE,
    Card,
    card,
    product_picture,
    write_page,
)
from completelook.images import (
    ANY_PICTURE,
    PicturePolicy,
    embedded_picture,
    open_image,
    shrunk,
)
from completelook.ranking import NO_BETTER, Look, Looks

_TEMPLATE = "look.html.jinja"


@dataclass(frozen=True)
class _Shown:
    title: str
    found: Look
    price: str
    note: str
    products: list[Card]


def write_look(
    path: Path,
    source: str,
    looks: Looks,
    catalog: Catalog,
    *,
    show: Sequence[str] = (),
    policy: PicturePolicy = ANY_PICTURE,
) -> None:
    """Write the page of the looks for a scene, given by its picture's path or URL.

    Raises CatalogError for a column the catalog lacks, ImageError for a scene that cannot be
    opened, OSError.
    """
    named = [("The best look", looks.looks[0])]
    named += [(f"Number {place}", look) for place, look in enumerate(looks.looks[1:], start=2)]
    if looks.worth_more is not None:
        named.append((f"With a budget of {looks.larger_budget:g}", looks.worth_more))
    images = list({match.image for _, look in named for match in look.matches})
    picture_of = partial(product_picture, policy=policy)
    pictures = map_in_flight(picture_of, images, in_flight=PRODUCTS_IN_FLIGHT)
    by_image = dict(zip(images, pictures, strict=True))
    columns = catalog.columns_to_show(show)
    name_column = next(iter(catalog.columns_to_show()), "")
    write_page(
        path,
        _TEMPLATE,
        scene_name=Path(source).name,
        photo=embedded_picture(shrunk(open_image(source, policy), SCENE_SIDE)),
        catalog_name=Path(catalog.info.location).name,
        product_count=len(catalog),
        model_id=format_model_id(catalog.model_id),
        looks=[
            _Shown(
                title=title,
                found=look,
                price=""
                if look.price is None
                else f"{look.price:,.2f} {looks.currency or ''}".strip(),
                note="none is better" if place == 0 and look.gap <= NO_BETTER else "",
                products=[
                    card(match, columns, name_column, by_image[match.image])
                    for match in look.matches
                ],
            )
            for place, (title, look) in enumerate(named)
        ],
    )
