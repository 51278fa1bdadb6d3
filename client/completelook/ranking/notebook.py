"""Answers as a notebook shows them: small tables with pictures, that load nothing.

A picture at a URL is left to the browser, so that a host that is slow holds up no cell.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from completelook.catalog import name_column
from completelook.contract import CATEGORY_SEPARATOR
from completelook.images import is_url, thumbnail

if TYPE_CHECKING:
    from completelook.ranking.look import Looks
    from completelook.ranking.match import Match, RankedScene

PRODUCTS_SHOWN = 20  # of one category
PRODUCTS_OF_SCENE = 5  # of each
_PRODUCT_SIDE, _SCENE_SIDE = 64, 320
_LEFT = ' style="text-align:left"'


def ranking_html(matches: "Sequence[Match]", shown: int = PRODUCTS_SHOWN) -> str:
    """The products of one category."""
    if not matches:
        return "<p>Nothing fits.</p>"
    more = len(matches) - shown
    note = f"<p>and {more} more</p>" if more > 0 else ""
    return _table(matches[:shown]) + note


def scene_html(scene: "RankedScene") -> str:
    """A scene and the first products of each category."""
    parts = [_picture(scene.source, Path(scene.source).name, _SCENE_SIDE)]
    for category, matches in scene.matches.items():
        parts.append(f"<h4>{escape(category)}</h4>")
        parts.append(ranking_html(matches, PRODUCTS_OF_SCENE))
    return "".join(parts)


def looks_html(looks: "Looks") -> str:
    """The best looks."""
    parts = []
    for place, look in enumerate(looks.looks, start=1):
        price = "" if look.price is None else f", {look.price:,.2f} {looks.currency or ''}".rstrip()
        parts.append(f"<h4>Look {place}: score {look.score:.4f}{escape(price)}</h4>")
        parts.append(_table(look.matches, of_one_category=False))
    return "".join(parts)


def _table(matches: "Iterable[Match]", *, of_one_category: bool = True) -> str:
    matches = list(matches)
    calibrated = any(match.compatibility is not None for match in matches)
    heads = ["rank", "", "product"]
    heads += ["compatibility"] if calibrated else []
    heads += ["distance", "global", "local"]
    rows = [
        _row(match, calibrated, None if of_one_category else match.category) for match in matches
    ]
    head = "".join(f"<th{_LEFT if each == 'product' else ''}>{each}</th>" for each in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(match: "Match", calibrated: bool, category: str | None) -> str:
    column = name_column(match.product)
    name = None if column is None else match.product[column]
    lines = [match.id] if name is None else [str(name), match.id]
    if category is not None:
        lines.insert(0, category.rpartition(CATEGORY_SEPARATOR)[2])
    if match.moved_by:
        lines.append(f"moved by {', '.join(match.moved_by)}")
    numbers = [match.compatibility] if calibrated else []
    numbers += [match.distance, match.global_distance, match.local_distance]
    cells = [
        f"<td>{match.rank}</td>",
        f"<td>{_picture(match.image, lines[0], _PRODUCT_SIDE)}</td>",
        f"<td{_LEFT}>{'<br>'.join(map(escape, lines))}</td>",
        *(f"<td>{'' if each is None else f'{each:.4f}'}</td>" for each in numbers),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _picture(source: str, text: str, side: int) -> str:
    if is_url(source):
        style = f"max-width:{side}px;max-height:{side}px"
        return f'<img src="{escape(source)}" alt="{escape(text)}" loading="lazy" style="{style}">'
    picture = thumbnail(source, side)
    if not picture.data:
        return f'<span title="{escape(picture.problem)}">no picture</span>'
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img src="{picture.data}" alt="{escape(text)}" {size}>'
