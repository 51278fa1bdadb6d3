"""Splits by scene: those a file names, else 80/10/10 by a hash of the scene's id.

Reading makes no file: the hash says the same on every machine and in every run, and data that is
added moves no scene from one split to another.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from completelook_build.errors import DataError

SPLITS = ("train", "validation", "test")
_TRAIN_SHARE, _VALIDATION_SHARE = 0.8, 0.1

Splits = Mapping[str, frozenset[str]]


def split_of(scene: str) -> str:
    """The split of a scene by its id alone."""
    fraction = int.from_bytes(hashlib.sha256(scene.encode()).digest()[:8], "big") / 2**64
    if fraction < _TRAIN_SHARE:
        return "train"
    return "validation" if fraction < _TRAIN_SHARE + _VALIDATION_SHARE else "test"


def split_scenes(
    scenes: Iterable[str], named: Mapping[str, Iterable[str]] | None = None
) -> dict[str, frozenset[str]]:
    """Each scene in the split that names it, one that no split names in that of its hash."""
    split_by_name = {scene: name for name, own in (named or {}).items() for scene in own}
    splits: dict[str, set[str]] = {name: set() for name in SPLITS}
    for scene in scenes:
        splits[split_by_name.get(scene) or split_of(scene)].add(scene)
    return {name: frozenset(own) for name, own in splits.items()}


def read_splits(path: Path) -> dict[str, frozenset[str]]:
    """The splits that a file names. Raises DataError where a scene is in two of them."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8-sig"))
        if not all(isinstance(stored[name], list) for name in SPLITS):
            raise TypeError("a text is a set of characters")
        splits = {name: frozenset(map(str, stored[name])) for name in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected JSON lists of scenes under {', '.join(SPLITS)} ({error})"
        ) from error
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = sorted(splits[first] & splits[second])
        if shared:
            raise DataError(
                f"{path}: scene {shared[0]!r} is in both {first} and {second} "
                f"({len(shared)} such scenes); a scene may be in one split only"
            )
    return splits
