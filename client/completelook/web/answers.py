"""What is answered: matches and looks without a server's path, each with a schema of its own."""

from dataclasses import replace
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from completelook.catalog import CategoryTable, Hits, format_model_id
from completelook.explain import contributions, support
from completelook.products import Product
from completelook.ranking import Calibration, Ledger, Look, Looks, Match, RankedScene, Receipt
from completelook.triton import SceneEmbedding
from completelook.web.json_answer import json_bytes


class MatchAnswer(BaseModel):
    """A product in its place; distances lie in [0, 4], smaller is more compatible."""

    rank: int
    id: str
    category: str
    picture: str = Field(description="Where this service has its picture.")
    distance: float
    global_distance: float
    local_distance: float
    compatibility: float | None
    product: dict[str, Any] = Field(description="The shop's own columns.")
    folded: list[str] = Field(description="Ids of products that it stands for.")
    model_rank: int | None = Field(description="Under rules: its rank by distance alone.")
    moved_by: list[str] = Field(description="The rules without which it would not be there.")


class SceneAnswer(BaseModel):
    """What an answer says of its scene."""

    scene: str = Field(description="The scene's token, for further questions.")
    model_id: str


class MoveAnswer(BaseModel):
    """A product that stands elsewhere because of a rule; ranks are null where it is not shown."""

    id: str
    before: int | None
    after: int | None


class EffectAnswer(BaseModel):
    """What one rule has changed, all others kept."""

    rule: str
    category: str | None
    moves: list[MoveAnswer]
    cost: float | None
    kept_out: list[str]


class LedgerAnswer(BaseModel):
    """What rules have changed about the order that the model alone would give."""

    model: list[MatchAnswer]
    effects: list[EffectAnswer]
    unit: str
    cost: float | None


class CategoryMatches(BaseModel):
    """The products of one category, best first."""

    category: str
    matches: list[MatchAnswer]
    ledger: LedgerAnswer | None


class RankAnswer(SceneAnswer):
    """Ranked products, category by category."""

    categories: list[CategoryMatches]
    receipt: dict[str, Any] = Field(description="For `completelook replay`.")


class OneLook(BaseModel):
    """Products that make a look; scores and distances as `completelook look` has them."""

    score: float
    scene_distance: float
    mutual_distance: float
    price: float | None
    gap: float
    matches: list[MatchAnswer]


class LookAnswer(SceneAnswer):
    """The best looks, best first, and the best one for more money."""

    looks: list[OneLook]
    with_more: OneLook | None
    larger_budget: float | None
    left_out: list[str]
    currency: str | None
    receipt: dict[str, Any] = Field(description="For `completelook replay`.")


class ExplainedProduct(BaseModel):
    """Why a product is where it is, region by region, the rows from the top of the photo."""

    id: str
    category: str
    distance: float
    global_distance: float
    local_distance: float
    compatibility: float | None
    contributions: list[list[float]] = Field(description="14 x 14; add up to local_distance.")
    support: list[list[float]] = Field(
        description="14 x 14; above 0 where a region speaks for it. Add up to 1 - half of it."
    )


class ExplainAnswer(SceneAnswer):
    """Products and what each part of the scene says of them."""

    products: list[ExplainedProduct]


class ProductAnswer(BaseModel):
    """A product of the catalog."""

    id: str
    category: str
    picture: str
    product: dict[str, Any]


class HeldCategory(BaseModel):
    """A category that can be ranked."""

    name: str
    products: int


class CategoriesAnswer(BaseModel):
    """What the catalog holds."""

    model_id: str
    categories: list[HeldCategory]
    columns: list[str] = Field(description="The shop's own, for conditions.")


def ranked(token: str, found: RankedScene) -> bytes:
    """A RankAnswer, as JSON."""
    answer = {
        "scene": token,
        "model_id": format_model_id(found.embedding.model_id),
        "categories": [
            {
                "category": category,
                "matches": [_match(match) for match in matches],
                "ledger": None if matches.ledger is None else _ledger(matches.ledger),
            }
            for category, matches in found.matches.items()
        ],
    }
    return _with_receipt(answer, found.receipt)


def looked(token: str, model_id: int, found: Looks) -> bytes:
    """A LookAnswer, as JSON."""
    answer = {
        "scene": token,
        "model_id": format_model_id(model_id),
        "looks": [_look(look) for look in found.looks],
        "with_more": None if found.with_more is None else _look(found.with_more),
        "larger_budget": found.larger_budget,
        "left_out": found.left_out,
        "currency": found.currency,
    }
    return _with_receipt(answer, found.receipt)


def _with_receipt(answer: dict[str, Any], receipt: Receipt | None) -> bytes:
    assert receipt is not None
    # The name of the file alone: where it lies is not for strangers.
    receipt = replace(receipt, catalog=PurePath(receipt.catalog).name)
    return b'%b,"receipt":%b}' % (json_bytes(answer)[:-1], receipt.as_json().encode())


def explained(
    token: str, scene: SceneEmbedding, hits: Hits, table: CategoryTable, fit: Calibration | None
) -> dict[str, Any]:
    """An ExplainAnswer. Raises CategoryError for a product that the model cannot rank."""
    products = []
    for product, embedding in zip(hits.products, hits.embeddings, strict=True):
        row = table.resolve(product.category)
        parts = contributions(scene, row, embedding)  # [14, 14]
        near = 2 - 2 * float(embedding.astype(np.float64) @ scene.embedding)
        local = float(parts.sum())
        distance = (near + local) / 2
        products.append(
            {
                "id": product.id,
                "category": product.category,
                "distance": distance,
                "global_distance": near,
                "local_distance": local,
                "compatibility": fit and float(fit.compatibility(np.array(distance))),
                "contributions": _rounded(parts),
                "support": _rounded(support(scene, row, embedding)),
            }
        )
    return {"scene": token, "model_id": format_model_id(scene.model_id), "products": products}


def _rounded(parts: NDArray[np.float64]) -> list[list[float]]:
    """A map; 196 parts still add up to within 1e-6."""
    rounded: list[list[float]] = parts.round(8).tolist()
    return rounded


def described(product: Product) -> dict[str, Any]:
    """A ProductAnswer."""
    return {
        "id": product.id,
        "category": product.category,
        "picture": picture_url(product.id),
        "product": product.columns,
    }


def picture_url(product_id: str) -> str:
    """Where the service has a product's picture."""
    return f"/v1/products/{quote(product_id, safe='')}/picture"


def _match(match: Match) -> dict[str, Any]:
    return {
        "rank": match.rank,
        "id": match.id,
        "category": match.category,
        "picture": picture_url(match.id),
        "distance": match.distance,
        "global_distance": match.global_distance,
        "local_distance": match.local_distance,
        "compatibility": match.compatibility,
        "product": match.product,
        "folded": match.folded,
        "model_rank": match.model_rank,
        "moved_by": match.moved_by,
    }


def _ledger(ledger: Ledger) -> dict[str, Any]:
    return {
        "model": [_match(match) for match in ledger.model],
        "effects": ledger.effects,
        "unit": ledger.unit,
        "cost": ledger.cost,
    }


def _look(look: Look) -> dict[str, Any]:
    return {
        "score": look.score,
        "scene_distance": look.scene_distance,
        "mutual_distance": look.mutual_distance,
        "price": look.price,
        "gap": look.gap,
        "matches": [_match(match) for match in look.matches],
    }
