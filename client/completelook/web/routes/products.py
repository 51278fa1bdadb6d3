"""What the catalog holds: its categories, its products, and their pictures."""

import asyncio
import io
from enum import IntEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.exceptions import HTTPException

from completelook.catalog import format_model_id
from completelook.errors import ImageError
from completelook.explain import shrunk
from completelook.images import PicturePolicy, is_url, open_image
from completelook.web import answers
from completelook.web.json_answer import tag_of, tagged, tagged_json
from completelook.web.problems import NOT_MODIFIED, documented, webp
from completelook.web.routes.scenes import service_of
from completelook.web.service import products_of

router = APIRouter(prefix="/v1", tags=["catalog"])

ProductId = Annotated[str, Path(min_length=1, max_length=1_000)]
_KEPT = "private, max-age=3600"


class Side(IntEnum):
    """The longest side of a picture, in pixels; few, so that each is made once."""

    SMALL = 160
    MEDIUM = 320
    LARGE = 640


@router.get("/categories", response_model=answers.CategoriesAnswer, responses=NOT_MODIFIED)
async def categories(request: Request) -> Response:
    """The categories that can be ranked, and the columns that conditions can name."""
    catalog = service_of(request).catalog
    counts = catalog.category_counts
    content = {
        "model_id": format_model_id(catalog.model_id),
        "categories": [
            {"name": name, "products": counts[name]}
            for name in catalog.categories.names
            if name in counts
        ],
        "columns": list(catalog.info.columns),
    }
    return tagged_json(request, content)


# Before the product itself, whose id may hold a slash.
@router.get(
    "/products/{product_id:path}/picture",
    response_class=Response,
    responses=webp() | NOT_MODIFIED | documented(404, 422),
)
async def picture(
    request: Request, product_id: ProductId, side: Annotated[Side, Query()] = Side.MEDIUM
) -> Response:
    """A product's picture in WebP, no side longer than `side` pixels."""
    service = service_of(request)
    key = f"{side}:{product_id}"
    content = service.pictures.get(key)
    if content is None:
        hits = await asyncio.to_thread(products_of, service.catalog, [product_id])
        product = hits.products[0]
        run = service.in_download_thread if is_url(product.image) else asyncio.to_thread
        try:
            content = await run(_webp, product.image, int(side), service.settings.pictures)
        except ImageError as error:
            # Its text names the file.
            raise HTTPException(404, f"the picture of {product_id!r} cannot be read") from error
        service.pictures.put(key, content)
    return tagged(request, content, "image/webp", tag_of(content), _KEPT)


@router.get(
    "/products/{product_id:path}",
    response_model=answers.ProductAnswer,
    responses=documented(404, 422) | NOT_MODIFIED,
)
async def product(request: Request, product_id: ProductId) -> Response:
    """A product of the catalog, with the shop's own columns."""
    hits = await asyncio.to_thread(products_of, service_of(request).catalog, [product_id])
    return tagged_json(request, answers.described(hits.products[0]))


def _webp(source: str, side: int, policy: PicturePolicy) -> bytes:
    buffer = io.BytesIO()
    shrunk(open_image(source, policy), side).save(buffer, "WEBP", quality=80)
    return buffer.getvalue()
