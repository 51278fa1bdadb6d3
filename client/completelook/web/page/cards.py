"""Cards: a product as the page shows it, its fit in words, and its own map on the photo."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog, is_missing
from completelook.contract import CATEGORY_SEPARATOR
from completelook.explain import support
from completelook.products import as_json
from completelook.ranking import PRICE_COLUMN, Match
from completelook.triton import SceneEmbedding
from completelook.web.answers import picture_url

# A compatibility is how likely the product is the one that belongs there, against a random one of
# its category: 0.5 is no better than chance.
WORDS = (
    (0.9, "fits beautifully"),
    (0.75, "fits well"),
    (0.5, "could fit"),
    (0.0, "hardly fits"),
)
FITS = 0.5
_TOLD = 3  # columns beside name and price that stand on a card at once
_SHORT = 24  # characters of such a column at most


@dataclass(frozen=True)
class Detail:
    """What a product has in one of the shop's columns."""

    column: str
    text: str
    is_link: bool

    @property
    def label(self) -> str:
        """The column's name as a person writes it."""
        return self.column.replace("_", " ")


@dataclass(frozen=True)
class Card:
    """A product in its place."""

    match: Match
    name: str
    kind: str  # the last part of its category
    picture: str
    price: str
    told: str  # the first short columns, in a line
    details: Sequence[Detail]
    word: str  # how it fits; empty of a model that is not calibrated
    map: str  # 196 bytes in base64: what each region says for it, 255 the most on the page
    taken_along: str  # JSON, what stands in the person's collection
    is_pinned: bool = False


def word_of(compatibility: float | None) -> str:
    """A compatibility in words."""
    if compatibility is None:
        return ""
    return next(word for least, word in WORDS if compatibility >= least)


def last_part(category: str) -> str:
    """What a category is called where there is little room."""
    return category.rpartition(CATEGORY_SEPARATOR)[2]


def cards(
    scene: SceneEmbedding, catalog: Catalog, matches: Sequence[Match], pins: Sequence[str] = ()
) -> list[Card]:
    """The cards of some matches, each with its map in the scene as it was steered."""
    if not matches:
        return []
    embeddings = catalog.get([match.id for match in matches]).embeddings  # [n, 128]
    drawn: dict[str, str] = {}
    for category in {match.category for match in matches}:
        of_it = [place for place, match in enumerate(matches) if match.category == category]
        maps = _maps(scene, catalog.categories.resolve(category), embeddings[of_it])
        drawn |= {matches[place].id: each for place, each in zip(of_it, maps, strict=True)}
    name_column = next(iter(catalog.columns_to_show()), "")
    return [_card(match, name_column, drawn[match.id], match.id in pins) for match in matches]


def _card(match: Match, name_column: str, drawn: str, is_pinned: bool) -> Card:
    details = [
        _detail(column, value)
        for column, value in match.product.items()
        if column not in (name_column, PRICE_COLUMN) and not is_missing(value) and value != []
    ]
    name = str(match.product.get(name_column) or match.id)
    price = _text(match.product.get(PRICE_COLUMN))
    short = [each.text for each in details if _is_short(match.product[each.column], each)]
    taken_along = {
        "category": match.category,
        "id": match.id,
        "name": name,
        "price": price,
        "picture": picture_url(match.id),
        "columns": {each.column: each.text for each in details},
    }
    return Card(
        match=match,
        name=name,
        kind=last_part(match.category),
        picture=picture_url(match.id),
        price=price,
        told=" · ".join(short[:_TOLD]),
        details=details,
        word=word_of(match.compatibility),
        map=drawn,
        taken_along=json.dumps(taken_along, ensure_ascii=False),
        is_pinned=is_pinned,
    )


def _detail(column: str, value: Any) -> Detail:
    text = _text(value)
    return Detail(column, text, text.startswith(("https://", "http://")) and " " not in text)


def _is_short(value: Any, detail: Detail) -> bool:
    """Whether a column says something by itself: a word, not a number and not yes or no."""
    is_word = isinstance(value, str) and any(each.isalpha() for each in value)
    return (
        is_word
        and len(detail.text) <= _SHORT
        and not detail.is_link
        and detail.text.casefold() not in ("true", "false", "yes", "no")
    )


def _text(value: Any) -> str:
    """A cell as a person reads it."""
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.10g}"
    if isinstance(value, Decimal | int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value)
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(as_json(value)) if isinstance(value, Mapping) else str(value)


def _maps(scene: SceneEmbedding, row: int, embeddings: NDArray[np.float32]) -> list[str]:
    """What each region says for some products [n, 128], on one scale so that they compare."""
    says_for = support(scene, row, embeddings).clip(0)  # [n, 14, 14]
    scaled = (says_for / max(says_for.max(), np.finfo(float).tiny) * 255).round().astype(np.uint8)
    return [base64.b64encode(each.tobytes()).decode("ascii") for each in scaled]
