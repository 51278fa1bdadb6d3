"""The cell that names a product's picture, as feeds and spreadsheets write it."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from completelook.images import is_url, readable_suffixes

# Between two pictures of a cell. In a URL a comma may be a part of it, and a space is none.
_BETWEEN_URLS = re.compile(r"[\s,;|]+(?=https?://|//)", re.IGNORECASE)
_ONE_URL = r"(?i)^https?://[^\s,;|]*$"
_BETWEEN_PATHS = re.compile(r"\s*[,;|\n]\s*")

_CELLS_AT_ONCE = 1 << 16


def full_images(folder: Path, cells: Any) -> tuple[Any, int]:
    """The picture of each cell of a column of texts, and how many cells name several.

    Cells that hold one URL, most of them in most feeds, stay as they are.
    """
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(cells, _ONE_URL)).as_py():
        return cells, 0
    lists = 0
    chunks = []
    for start in range(0, len(cells), _CELLS_AT_ONCE):
        chosen = [
            first_image(folder, cell) for cell in cells[start : start + _CELLS_AT_ONCE].to_pylist()
        ]
        chunks.append(pa.array([image for image, _ in chosen], pa.string()))
        lists += sum(is_one_of_several for _, is_one_of_several in chosen)
    return pa.chunked_array(chunks, pa.string()), lists


def first_image(folder: Path, cell: str) -> tuple[str, bool]:
    """The URL or full path of the picture that a cell names, and whether it names others too.

    Of several, parted by commas, semicolons, pipes or lines, or as a JSON list, it is the first.
    What is there under the cell's own name is that.
    """
    names = _listed(cell)
    if names is None and is_url(cell):
        names = _BETWEEN_URLS.split(cell)
    elif names is None and (path := _existing(folder, cell)) is not None:
        return path, False
    elif names is None:
        names = _BETWEEN_PATHS.split(cell)
        if not all(_is_picture(name) for name in names):
            names = [cell]
    return _full(folder, names[0]), len(names) > 1


def _listed(cell: str) -> list[str] | None:
    """The texts of a JSON list that a cell is, or None."""
    if not cell.startswith("["):
        return None
    try:
        names = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return names if names and all(isinstance(name, str) and name for name in names) else None


def _existing(folder: Path, cell: str) -> str | None:
    """The full path of what is there, also where Windows wrote its name."""
    names = (cell, cell.replace("\\", "/")) if "\\" in cell else (cell,)
    paths = (folder / name for name in names)
    return next((str(path) for path in paths if _is_there(path)), None)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # A name that no file can have.
        return False


def _is_picture(name: str) -> bool:
    return is_url(name) or Path(name).suffix.lower() in _suffixes()


_suffixes = cache(readable_suffixes)


def _full(folder: Path, name: str) -> str:
    if is_url(name):
        return f"https:{name}" if name.startswith("//") else name
    return _existing(folder, name) or str(folder / name)
