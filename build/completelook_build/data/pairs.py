"""Shop-the-look data: which products stand in which scenes, read, checked and split by scene.

Pairs are JSON lines {"product", "scene", "bbox": [left, top, right, bottom] or null}, categories a
JSON map product -> category path, and the picture of an id is DIR/<id>.jpg.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from completelook_build.data.crop import Box, Crop, crop_out
from completelook_build.errors import DataError

SPLITS = ("train", "validation", "test")
_TRAIN_SHARE, _VALIDATION_SHARE = 0.8, 0.1
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
    """Pairs that can be used, what was dropped and why, and the scenes of each split."""

    pairs: tuple[Pair, ...]
    images: Path
    splits: Mapping[str, frozenset[str]]
    dropped: Counter[str] = field(default_factory=Counter)
    sha256: str = ""

    def split(self, name: str) -> tuple[Pair, ...]:
        """The pairs whose scenes are in a split."""
        return tuple(pair for pair in self.pairs if pair.scene in self.splits[name])

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the pairs, sorted."""
        return tuple(sorted({pair.category for pair in self.pairs}))

    def image(self, identifier: str) -> Path:
        """Where the picture of a scene or product lies."""
        return self.images / f"{identifier}.jpg"


def read_pairs(
    pairs_path: Path, categories_path: Path, images: Path, *, crop: bool = True
) -> PairData:
    """Read pairs and drop, counted by reason, those that cannot be used.

    With `crop` False every scene is kept whole, its product visible: the ablation, not the paper.
    Raises DataError where a file is missing or unreadable, or nothing usable is left.
    """
    category_of = _read_categories(categories_path)
    if not images.is_dir():
        raise DataError(f"{images}: no such folder of pictures (--images)")
    present = {path.stem for path in images.glob("*.jpg")}
    dropped: Counter[str] = Counter()
    found: dict[Pair, None] = {}
    for row in _read_rows(pairs_path):
        pair = _pair(row, category_of, present, crop)
        if isinstance(pair, Pair) and pair in found:
            pair = "duplicate of an earlier pair"
        if isinstance(pair, Pair):
            found[pair] = None
        else:
            dropped[pair] += 1
    pairs = _without_lone_products(found, dropped)
    if not pairs:
        raise DataError(f"{pairs_path}: no usable pair is left ({describe_dropped(dropped)})")
    splits = read_or_make_splits(pairs_path.with_name("splits.json"), {p.scene for p in pairs})
    digest = hashlib.sha256(pairs_path.read_bytes() + categories_path.read_bytes()).hexdigest()
    return PairData(tuple(pairs), images, splits, dropped, digest)


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


def describe_dropped(dropped: Mapping[str, int]) -> str:
    """The reasons for dropping pairs, most frequent first, on one line."""
    counts = Counter(dropped).most_common()
    return ", ".join(f"{count} x {reason}" for reason, count in counts) or "none dropped"


def _read_categories(path: Path) -> dict[str, str]:
    try:
        categories = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not a readable JSON map of product to category ({error})"
        ) from error
    if not isinstance(categories, dict):
        raise DataError(f"{path}: expected a JSON map of product to category")
    return categories


def _read_rows(path: Path) -> Iterator[Any]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable file of pairs ({error})") from error
    for line in filter(str.strip, lines):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            yield None


def _pair(row: Any, category_of: Mapping[str, str], present: set[str], crop: bool) -> Pair | str:
    """A pair, or the reason why there is none."""
    names = _names(row)
    if names is None:
        return "malformed line"
    scene, product = names
    category = category_of.get(product)
    if not _is_name(category):
        return "product without a category"
    if scene not in present:
        return "scene without a picture"
    if product not in present:
        return "product without a picture"
    box = row.get("bbox")
    if box is not None and not _is_box(box):
        return "box empty or outside 0 to 1"
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


def read_or_make_splits(path: Path, scenes: set[str]) -> dict[str, frozenset[str]]:
    """The splits stored beside the pairs, or else 80/10/10 by a hash of the scene's id, stored.

    A scene the file does not name goes where its hash says, so that added data moves no scene from
    one split to another. Raises DataError where a scene is in two splits.
    """
    stored = _read_splits(path) if path.exists() else {name: frozenset() for name in SPLITS}
    named = frozenset().union(*stored.values())
    splits = {
        name: stored[name] | {s for s in scenes - named if split_of(s) == name} for name in SPLITS
    }
    if scenes - named:
        _write_splits(path, splits)
    return splits


def split_of(scene: str) -> str:
    """The split of a scene by its id alone: the same on every machine and in every run."""
    fraction = int.from_bytes(hashlib.sha256(scene.encode()).digest()[:8], "big") / 2**64
    if fraction < _TRAIN_SHARE:
        return "train"
    return "validation" if fraction < _TRAIN_SHARE + _VALIDATION_SHARE else "test"


def _read_splits(path: Path) -> dict[str, frozenset[str]]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        splits = {name: frozenset(stored[name]) for name in SPLITS}
        if not all(isinstance(stored[name], list) for name in SPLITS):
            raise TypeError("a text is a set of characters")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected JSON lists of scenes under {', '.join(SPLITS)}"
        ) from error
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = sorted(splits[first] & splits[second])
        if shared:
            raise DataError(
                f"{path}: scene {shared[0]!r} is in both {first} and {second} "
                f"({len(shared)} such scenes); a scene may be in one split only"
            )
    return splits


def _write_splits(path: Path, splits: Mapping[str, frozenset[str]]) -> None:
    beside = path.with_name(path.name + ".partial")
    try:
        beside.write_text(json.dumps({name: sorted(splits[name]) for name in SPLITS}, indent=1))
        beside.replace(path)
    except OSError:
        # A read-only data folder: the hash gives the same splits again.
        return
