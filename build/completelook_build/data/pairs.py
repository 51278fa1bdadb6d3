"""Pairs: which products stand in which scenes, read and checked line by line.

Pairs are JSON lines {"product", "scene", "bbox": [left, top, right, bottom] or null}, categories a
JSON map product -> category path, and the picture of an id is DIR/<id> with one of
`PICTURE_SUFFIXES`.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from completelook_build.console import say
from completelook_build.data.crop import Box, Crop, crop_out
from completelook_build.data.splits import Splits, split_scenes
from completelook_build.errors import DataError

# In any case; of two pictures of one id the earlier suffix is taken.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Pair:
    """A product that complements a scene, and the part of the scene without it."""

    scene: str
    product: str
    category: str
    crop: Crop


@dataclass(frozen=True)
class PairData:
    """Pairs that can be used, the scenes of each split, and what was dropped and why."""

    pairs: tuple[Pair, ...]
    pictures: Mapping[str, Path]  # by the id of a scene or product
    splits: Splits
    dropped: Counter[str] = field(default_factory=Counter)
    sha256: str = ""

    def split(self, name: str) -> tuple[Pair, ...]:
        """The pairs whose scenes are in a split."""
        return tuple(pair for pair in self.pairs if pair.scene in self.splits[name])

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the pairs, sorted."""
        return tuple(sorted({pair.category for pair in self.pairs}))


def read_pairs(
    pairs_path: Path,
    categories_path: Path,
    images: Path,
    *,
    crop: bool = True,
    named_splits: Mapping[str, Iterable[str]] | None = None,
) -> PairData:
    """See `Dataset.read`."""
    category_of = _read_categories(categories_path)
    pictures, odd_suffixes = _find_pictures(images)
    dropped: Counter[str] = Counter()
    found: dict[Pair, None] = {}
    for row in _read_rows(pairs_path):
        pair = _pair(row, category_of, pictures, odd_suffixes, crop)
        if isinstance(pair, Pair) and pair in found:
            pair = "duplicate of an earlier pair"
        if isinstance(pair, Pair):
            found[pair] = None
        else:
            dropped[pair] += 1
    pairs = _without_lone_products(found, dropped)
    if not pairs:
        raise DataError(f"{pairs_path}: no usable pair is left ({describe_dropped(dropped)})")
    splits = split_scenes({pair.scene for pair in pairs}, named_splits)
    digest = hashlib.sha256(pairs_path.read_bytes() + categories_path.read_bytes()).hexdigest()
    return PairData(tuple(pairs), pictures, splits, dropped, digest)


def read_ids(pairs_path: Path) -> tuple[list[str], int]:
    """The ids of all scenes and products of a file of pairs, and how many lines name none.

    Raises DataError where the file is unreadable or no line names a scene and a product.
    """
    ids: dict[str, None] = {}
    malformed = 0
    for row in _read_rows(pairs_path):
        names = _names(row)
        if names is None:
            malformed += 1
        else:
            ids |= dict.fromkeys(names)
    if not ids:
        raise DataError(
            f"{pairs_path}: expected JSON lines with a scene and a product, none of its "
            f"{malformed} lines is one"
        )
    return list(ids), malformed


def read_boxes(pairs_path: Path) -> dict[str, tuple[Box, ...]]:
    """The boxes that the lines of a file of pairs give of a scene's products, by scene.

    Those of pairs that cannot be used as well. Raises DataError where the file is unreadable.
    """
    boxes: dict[str, dict[Box, None]] = {}
    for row in _read_rows(pairs_path):
        names = _names(row)
        if names is not None and _is_box(row.get("bbox")):
            boxes.setdefault(names[0], {})[Box(*row["bbox"])] = None
    return {scene: tuple(own) for scene, own in boxes.items()}


def describe_dropped(dropped: Mapping[str, int]) -> str:
    """The reasons for dropping pairs, most frequent first, on one line."""
    counts = Counter(dropped).most_common()
    return ", ".join(f"{count} x {reason}" for reason, count in counts) or "none dropped"


def _read_categories(path: Path) -> dict[str, str]:
    try:
        categories = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not a readable JSON map of product to category ({error})"
        ) from error
    if not isinstance(categories, dict):
        raise DataError(f"{path}: expected a JSON map of product to category")
    return categories


def _read_rows(path: Path) -> list[Any]:
    """The rows of JSON lines, None where a line is no JSON; one array in all is read as well."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable file of pairs ({error})") from error
    rows = [_from_json(line) for line in text.split("\n") if line.strip()]
    if all(isinstance(row, dict) for row in rows) or not text.lstrip().startswith("["):
        return rows
    array = _from_json(text)
    if not isinstance(array, list):
        return rows
    say(f"{path}: read as one JSON array; expected JSON lines, one pair a line")
    return array


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _find_pictures(images: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Pictures by their ids, and of other files the suffixes by their stems."""
    if not images.is_dir():
        raise DataError(f"{images}: no such folder of pictures (--images)")
    pictures: dict[str, Path] = {}
    odd_suffixes: dict[str, str] = {}
    for path in sorted(images.iterdir(), key=lambda path: (_preference(path), path.name)):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            pictures.setdefault(path.stem, path)
        else:
            odd_suffixes.setdefault(path.stem, path.suffix)
    return pictures, odd_suffixes


def _preference(path: Path) -> int:
    suffix = path.suffix.lower()
    return PICTURE_SUFFIXES.index(suffix) if suffix in PICTURE_SUFFIXES else len(PICTURE_SUFFIXES)


def _pair(
    row: Any,
    category_of: Mapping[str, str],
    pictures: Mapping[str, Path],
    odd_suffixes: Mapping[str, str],
    crop: bool,
) -> Pair | str:
    """A pair, or the reason why there is none."""
    names = _names(row)
    if names is None:
        return "malformed line"
    scene, product = names
    category = category_of.get(product)
    if not _is_name(category):
        return "product without a category"
    for role, identifier in (("scene", scene), ("product", product)):
        if identifier not in pictures:
            odd = odd_suffixes.get(identifier)
            read = f" ({odd} is not read; {' '.join(PICTURE_SUFFIXES)} are)" if odd else ""
            return f"{role} without a picture{read}"
    box = row.get("bbox")
    if box is not None and not _is_box(box):
        return "box empty or outside 0 to 1 (sides must be shares of the picture)"
    kept = crop_out(Box(*box) if box is not None and crop else None)
    if kept is None:
        return "crop keeps too little of the scene"
    return Pair(scene, product, category, kept)


def _names(row: Any) -> tuple[str, str] | None:
    """The ids of a line's scene and product, where it has them. Ids may be whole numbers."""
    if not isinstance(row, dict):
        return None
    scene, product = (
        str(name) if type(name) is int else name for name in (row.get("scene"), row.get("product"))
    )
    return (scene, product) if _is_name(scene) and _is_name(product) else None


def _is_name(name: Any) -> TypeGuard[str]:
    """Whether something is a text that can be written again: JSON can hold halves of characters."""
    return isinstance(name, str) and name.strip() != "" and not _SURROGATE.search(name)


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    # A bool is an int, and NaN is in no range.
    if not all(type(side) in (int, float) and 0.0 <= side <= 1.0 for side in box):
        return False
    left, top, right, bottom = box
    return bool(left < right and top < bottom)


def _without_lone_products(pairs: Iterable[Pair], dropped: Counter[str]) -> list[Pair]:
    """Without the categories of a single product, where no negative can be drawn."""
    pairs = list(pairs)
    products = {(pair.category, pair.product) for pair in pairs}
    sizes = Counter(category for category, _ in products)
    kept = [pair for pair in pairs if sizes[pair.category] > 1]
    if len(kept) < len(pairs):
        dropped["category with a single product"] += len(pairs) - len(kept)
    return kept
