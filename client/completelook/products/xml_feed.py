"""Products from an XML feed: Google Merchant's in RSS or Atom, or a list with an element each."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa

from completelook.errors import TableError
from completelook.products.dialect import opened
from completelook.products.records import Rows

# Elements that are a product each: of RSS, Atom, and of the lists of shops and price comparers.
_ITEMS = ("item", "entry", "product", "offer", "shopitem")
_GOOGLE = "{http://base.google.com/ns/1.0}"
_ITEMS_AT_ONCE = 1 << 14

Cells = dict[str, list[str]]  # of one item: what each element of a name holds


def read_xml(path: Path) -> Rows:
    """A table of the items of a feed, as it is or gzipped, a column for each name of an element.

    What is text stays text. A name that some item has several times makes a column of lists, what
    an element has nested in it is JSON. Items are counted from 1.

    Raises TableError, also for XML that is not whole: where an item would end is then unknown.
    """
    try:
        with opened(path) as file:
            items = map(_cells, _items(file))
            parts = [_table(part) for part in iter(lambda: [*islice(items, _ITEMS_AT_ONCE)], [])]
    except RecursionError as error:
        raise TableError(f"{path}: XML with elements nested too deeply: no feed") from error
    except (ET.ParseError, LookupError, ValueError) as error:  # the last two of encodings
        raise TableError(f"{path}: not whole XML ({error}): export it anew") from error
    if not parts:
        expected = ", ".join(f"<{name}>" for name in _ITEMS)
        raise TableError(f"{path}: XML without products: expected an element each: {expected}")
    table = pa.concat_tables(parts, promote_options="default")
    columns = {name: _single(table[name]) for name in table.column_names}
    return Rows(pa.table(columns), range(1, table.num_rows + 1))


def _items(file: IO[bytes]) -> Iterator[ET.Element]:
    """Each outermost element that is an item; what was read before is let go."""
    above: list[ET.Element] = []
    item = None
    # expat bounds what entities may grow to, and nothing outside of the file is read.
    for event, element in ET.iterparse(file, ("start", "end")):  # noqa: S314
        if event == "start":
            if item is None and _name(element) in _ITEMS:
                item = element
            above.append(element)
            continue
        above.pop()
        if element is item:
            yield item
            item = None
        if item is None and above:
            above[-1].remove(element)


def _cells(item: ET.Element) -> Cells:
    """What an item's attributes and elements hold; of RSS's and Google's <title>, Google's."""
    cells: Cells = {}
    own = {_name(child) for child in item if child.tag.startswith(_GOOGLE)}
    for child in item:
        name = _name(child)
        if name not in own or child.tag.startswith(_GOOGLE):
            cells.setdefault(name, []).append(_text(child))
    return {_local(name): [value] for name, value in item.attrib.items()} | cells


def _text(element: ET.Element) -> str:
    content = _content(element)
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _content(element: ET.Element) -> str | Mapping[str, Any]:
    """Text without the space around it, a link's address, or what is nested, by name."""
    if len(element):
        return {_name(child): _content(child) for child in element}
    return (element.text or "").strip() or element.get("href", "")


def _table(items: Sequence[Cells]) -> pa.Table:
    names = dict.fromkeys(name for cells in items for name in cells)
    lists = pa.list_(pa.string())
    return pa.table({name: pa.array([cells.get(name) for cells in items], lists) for name in names})


def _single(column: Any) -> Any:
    """A column of lists as one of texts, where no list holds two; lacking ones are null."""
    import pyarrow.compute as pc

    if any(pc.max(pc.list_value_length(chunk)).as_py() not in (None, 1) for chunk in column.chunks):
        return column
    texts = []
    for chunk in column.chunks:
        is_there = chunk.is_valid().to_numpy(zero_copy_only=False)  # [N]
        places = pa.array(np.cumsum(is_there) - 1, mask=~is_there)
        texts.append(chunk.flatten().take(places))
    return pa.chunked_array(texts, pa.string())


def _name(element: ET.Element) -> str:
    return _local(element.tag)


def _local(tag: str) -> str:
    """A name without its namespace, as columns are called: `{http://...}ID` is id."""
    return tag.rpartition("}")[2].lower()
