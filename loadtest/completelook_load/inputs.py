"""What is sent, by default what `make demo` has left in a checkout, and where reports go."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from completelook import ImageSource, load_image
from completelook_build.errors import DataError
from numpy.typing import NDArray

CATALOG = Path("demo/catalog.arrow")
PICTURES = Path("demo/showroom/images")
REPORTS = Path("loadtest/reports")

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# Enough to differ in size and content; a decoded one takes 150 KB.
_MOST = 64


def find_pictures(folder: Path, seed: int = 0) -> list[Path]:
    """Up to 64 pictures of a folder and those below it, always the same ones.

    Raises DataError where there is none.
    """
    files = folder.rglob("*") if folder.is_dir() else ()
    found = sorted(file for file in files if file.suffix.lower() in _SUFFIXES)
    if not found:
        raise DataError(
            f"{folder} holds no picture: give a folder of them with --pictures DIR, "
            "or run `make demo`, which renders a showroom"
        )
    random = np.random.default_rng(seed)
    return [found[row] for row in sorted(random.permutation(len(found))[:_MOST])]


def decode(pictures: Sequence[ImageSource]) -> list[NDArray[np.uint8]]:
    """The pictures as the models take them, [224, 224, 3], so that sending one costs no decoding.

    Raises ImageError.
    """
    return [load_image(picture) for picture in pictures]
