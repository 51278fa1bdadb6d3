"""What runs in a process of its own, to be measured or to be killed: ranking and indexing."""

import sys
import time
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
from completelook import Catalog
from completelook.catalog import index
from completelook.images import ImageSource
from completelook.ranking import rank_scene
from numpy.typing import NDArray

from completelook_load.catalog.measures import peak_mib
from completelook_load.catalog.shop import CATEGORIES, MODEL_ID, products, scenes, unit_vectors


@dataclass(frozen=True)
class _Answer:
    embedding: NDArray[np.float32]
    model_id: int = MODEL_ID


class _Synthetic:
    """Embeds a picture's name in no time, always to the same direction."""

    def categories(self) -> tuple[str, ...]:
        return CATEGORIES

    def embed_product(self, source: ImageSource, /) -> _Answer:
        seed = zlib.crc32(str(source).encode()) if isinstance(source, str) else 0
        return _Answer(unit_vectors(np.random.default_rng(seed), 1)[0])


class _OfBytes(_Synthetic):
    """Embeds a picture's bytes, in a server's time."""

    def embed_product(self, source: ImageSource, /) -> _Answer:
        time.sleep(0.02)
        content = Path(source).read_bytes() if isinstance(source, str) else b""
        return _Answer(unit_vectors(np.random.default_rng(zlib.crc32(content)), 1)[0])


def main() -> None:
    """Do what the arguments say, and print the memory that it took in MiB, or what was reused."""
    what, path = sys.argv[1], Path(sys.argv[2])
    if what == "index files":
        print(index(sys.argv[3], path, _OfBytes()).reused)
        return
    count = int(sys.argv[3])
    if what == "index":
        index(products(count), path, _Synthetic())
        print(peak_mib())
        return
    (scene,) = scenes(1)
    before = peak_mib()
    is_checked = what == "rank"
    with nullcontext() if is_checked else mock.patch("completelook.storage.seal.SealedFile.check"):
        rank_scene(scene, Catalog.open(path), CATEGORIES[:count])
    print(peak_mib() - before)


if __name__ == "__main__":
    main()
