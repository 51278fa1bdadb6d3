"""A folder of pictures as it comes off a disk: one sub-folder per category, and what lies about."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from completelook.images import readable_suffixes
from completelook.products.records import Rows, Skip

# What people keep beside pictures and nobody misses, unlike a picture that cannot be read.
_OTHER_SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx"}
_UNREAD_PICTURES = {".heic", ".heif", ".avif", ".jxl", ".psd", ".svg", ".cr2", ".nef", ".dng"}


def read_folder(path: Path, separator: str) -> Rows:
    """Products of a folder: id from the file's name, category from its sub-folders.

    Where two files of one name would share an id, the id is the path. A link to a folder is
    followed where it stands for a category. Every picture that is not taken is listed.
    """
    pictures: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    others: Counter[str] = Counter()
    known = readable_suffixes()
    for file in sorted(_files(path, skipped)):
        suffix = file.suffix.lower()
        if suffix not in known and suffix not in _UNREAD_PICTURES:
            others[suffix or "no suffix"] += 1
        elif suffix not in known:
            skipped.append((file, f"a {suffix[1:].upper()} picture, which is not read here"))
        elif len(file.parts) == 1:
            skipped.append((file, "lies in no category's sub-folder"))
        else:
            pictures.append(file)
    stems = Counter(file.stem for file in pictures)
    columns = {
        "id": [
            file.stem if stems[file.stem] == 1 else file.with_suffix("").as_posix()
            for file in pictures
        ],
        "image": [str(file) for file in pictures],
        "category": [separator.join(file.parent.parts) for file in pictures],
    }
    schema = pa.schema([(name, pa.string()) for name in columns])
    count = len(pictures)
    skips = tuple(
        Skip(count + place, file.stem, str(file), reason)
        for place, (file, reason) in enumerate(skipped, 1)
    )
    notes: tuple[str, ...] = ()
    if others:
        kinds = ", ".join(f"{number} {suffix}" for suffix, number in others.most_common())
        notes = (f"left out what are no pictures: {kinds}",)
    return Rows(pa.table(columns, schema=schema), range(1, count + 1), skips, notes)


def _files(root: Path, skipped: list[tuple[Path, str]]) -> Iterator[Path]:
    """The files below a folder, relative to it, without hidden ones and other systems' own."""
    folders = [root]
    while folders:
        folder = folders.pop()
        for entry in os.scandir(folder):
            file = Path(entry.path).relative_to(root)
            if not _is_text(entry.name):
                shown = Path(os.fsencode(file).decode(errors="replace"))
                skipped.append((shown, "its name is not UTF-8: rename it"))
                continue
            if entry.name.startswith(".") or entry.name.casefold() in _OTHER_SYSTEMS:
                continue
            if not entry.is_dir():
                yield file
            elif entry.is_symlink() and folder != root:
                skipped.append((file, "a link to a folder below the categories is not followed"))
            else:
                folders.append(Path(entry.path))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
