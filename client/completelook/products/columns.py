"""The columns of a shop's table: which holds the id, the picture, the category.

Google Merchant's and Shopify's exports are known as they are; any other column is named with
`--column image=FOTO`.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from completelook.errors import TableError
from completelook.products.records import Rows
from completelook.products.tables import changed

REQUIRED = ("id", "image", "category")

# Names that other exports have for what is required: not taken on trust, but offered.
_NEAR = {
    "id": ("sku", "product_id", "item_id", "article", "handle", "code", "ean", "gtin", "number"),
    "image": ("picture", "photo", "img", "url", "src", "link", "file", "path", "foto", "bild"),
    "category": ("type", "group", "department", "class", "kategorie", "taxonomy", "collection"),
}
_HANDLES = ("handle", "url_handle")
# Each feed's names, and which column names the category where the first one does not.
_FEEDS = (
    (
        "Google Merchant feed",
        {"id": "id", "image": "image_link", "category": "google_product_category"},
        "product_type",
    ),
    (
        "Shopify export",
        {"id": "handle", "image": "image_src", "category": "product_category"},
        "type",
    ),
    (
        "Shopify export",
        {"id": "url_handle", "image": "product_image_url", "category": "product_category"},
        "type",
    ),
)

_TEXT_OR_WHOLE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_integer,
    pa.types.is_null,
)


def name_columns(rows: Rows, given: Mapping[str, str], source: object) -> Rows:
    """The rows with columns id, image and category first, then the shop's own under their names.

    `given` names columns that the user has told: ours -> the table's. Raises TableError.
    """
    names = {_normal(name): name for name in rows.table.column_names}
    chosen = _chosen(rows.table.column_names, given, source)
    second, notes = None, rows.notes
    if not chosen.keys() >= set(REQUIRED):
        for feed, theirs, second_category in _FEEDS:
            if theirs["image"] in names and theirs["id"] in names:
                found = {ours: names[name] for ours, name in theirs.items() if name in names}
                second = names.get(second_category)
                chosen = {**found, **chosen}
                if "category" not in chosen and second is not None:
                    chosen["category"], second = second, None
                notes = (*notes, f"{feed}: {_told(chosen)}")
                break
    _require(rows.table.column_names, chosen, source)
    table = _arranged(rows.table, chosen, second, source)
    named = Rows(table, rows.numbers, rows.skipped, notes)
    is_by_handle = _normal(chosen["id"]) in _HANDLES
    return _first_of_handle(named) if is_by_handle else named


def _chosen(names: list[str], given: Mapping[str, str], source: object) -> dict[str, str]:
    """Columns told by the user, and those that are called as they should be but for case."""
    normal = {_normal(name): name for name in names}
    chosen = {ours: normal[ours] for ours in REQUIRED if ours in normal}
    for ours, theirs in given.items():
        if ours not in REQUIRED:
            raise TableError(
                f"--column {ours}={theirs}: expected one of {', '.join(REQUIRED)} first"
            )
        if theirs not in names and _normal(theirs) not in normal:
            near = difflib.get_close_matches(_normal(theirs), normal)
            hint = f", did you mean {normal[near[0]]!r}?" if near else ""
            raise TableError(f"{source}: no column {theirs!r}{hint} It has {_listed(names)}")
        chosen[ours] = theirs if theirs in names else normal[_normal(theirs)]
    return chosen


def _require(names: list[str], chosen: Mapping[str, str], source: object) -> None:
    missing = [ours for ours in REQUIRED if ours not in chosen]
    if not missing:
        if "embedding" in (name for name in names if name not in chosen.values()):
            raise TableError(f"{source}: rename its column 'embedding', a catalog has its own")
        return
    hints = [f"--column {ours}={near}" for ours in missing if (near := _near(ours, names))]
    way_out = f"perhaps {' '.join(hints)}" if hints else "name it with --column image=COLUMN"
    raise TableError(
        f"{source}: no column {_listed(missing)}: expected id, image and category, "
        f"found {_listed(names)}; {way_out}"
    )


def _near(ours: str, names: list[str]) -> str | None:
    """The column that is most likely meant, in quotes where a shell needs them."""
    for name in names:
        words = _normal(name).split("_")
        if ours in words or _plural(ours) in words:
            return _quoted(name)
    for hint in _NEAR[ours]:
        for name in names:
            if hint in _normal(name).split("_") or _normal(name) == hint:
                return _quoted(name)
    spelled = difflib.get_close_matches(ours, [_normal(name) for name in names], cutoff=0.7)
    return next((_quoted(name) for name in names if spelled and _normal(name) == spelled[0]), None)


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _arranged(
    table: pa.Table, chosen: Mapping[str, str], second: str | None, source: object
) -> pa.Table:
    import pyarrow.compute as pc

    columns = {ours: _as_text(source, ours, chosen[ours], table) for ours in REQUIRED}
    if second is not None:
        fallback = _as_text(source, "category", second, table)
        # A number of Google's taxonomy is no name that a model could know.
        given = pc.coalesce(columns["category"], pa.scalar(""))
        is_no_name = pc.match_substring_regex(given, "^[0-9]*$")
        is_named = pc.not_equal(pc.coalesce(fallback, pa.scalar("")), pa.scalar(""))
        columns["category"] = pc.if_else(pc.and_(is_no_name, is_named), fallback, given)
    taken = set(chosen.values()) | set(REQUIRED)
    own = {name: table[name] for name in table.column_names if name not in taken}
    return pa.table({**columns, **own})


def _as_text(source: object, ours: str, name: str, table: pa.Table) -> Any:
    """A required column as text: whole numbers as they are written, other kinds refused.

    Of several ids or categories in a cell the first counts, several pictures stay a list.
    """
    import pyarrow.compute as pc

    column: Any = table[name]
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_floating(kind):
        # pandas makes floats of whole numbers where one is missing.
        try:
            column = pc.if_else(pc.is_nan(column), None, column).cast(pa.int64())
        except pa.ArrowInvalid:
            raise _no_text(source, name, kind) from None
        kind = column.type
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        written = json.dumps if ours == "image" else _first
        texts = [written(cell) if cell else None for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if not any(holds(kind) for holds in _TEXT_OR_WHOLE):
        raise _no_text(source, name, kind)
    return changed(column.cast(pa.string()), pc.utf8_trim_whitespace)


def _first(cell: list[str]) -> str:
    return cell[0]


def _no_text(source: object, name: str, kind: pa.DataType) -> TableError:
    return TableError(f"{source}: column {name!r} holds {kind}, expected text or whole numbers")


def _first_of_handle(rows: Rows) -> Rows:
    """Of the rows of one handle, a picture or variant each, the first, with the first picture."""
    first: dict[str, int] = {}
    pictures: dict[str, str] = {}
    handles: list[Any] = rows.table["id"].to_pylist()
    images: list[Any] = rows.table["image"].to_pylist()
    for place, (handle, image) in enumerate(zip(handles, images, strict=True)):
        first.setdefault(handle or f"\0{place}", place)
        if image:
            pictures.setdefault(handle, image)
    places = list(first.values())
    table = rows.table.take(pa.array(places, pa.int64()))
    chosen = [pictures.get(handles[place]) or "" for place in places]
    table = table.set_column(1, "image", pa.array(chosen, pa.string()))
    folded = len(handles) - len(places)
    note = f"{len(places)} products; {folded} rows of further pictures and variants belong to them"
    numbers = [rows.numbers[place] for place in places]
    return Rows(table, numbers, rows.skipped, (*rows.notes, note))


def _normal(name: str) -> str:
    """A column's name without case, spaces and a feed's prefix: ` Image Src` is image_src."""
    return "_".join(name.casefold().removeprefix("g:").replace("-", " ").replace("_", " ").split())


def _told(chosen: Mapping[str, str]) -> str:
    return ", ".join(f"{ours} from {theirs!r}" for ours, theirs in chosen.items())


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name or "(" in name else name


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
