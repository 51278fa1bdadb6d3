"""A data set: where its parts lie, as the command line names them, and how it is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from completelook_build.data.pairs import PairData, read_pairs
from completelook_build.data.splits import read_splits


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Shop-the-look data on disk, and the cache of what the backbone makes of its pictures.

    Without a file of splits the hash of a scene's id decides (`split_of`).
    """

    pairs: Path
    categories: Path
    images: Path
    features: Path
    splits: Path | None = None

    @classmethod
    def of(cls, folder: Path, **elsewhere: Path) -> "Dataset":
        """The data set of a folder; parts that lie elsewhere are named.

        FOLDER/pairs.jsonl, categories.json, images/, splits.json where it exists, features/.
        """
        parts = {
            "pairs": folder / "pairs.jsonl",
            "categories": folder / "categories.json",
            "images": folder / "images",
            "features": folder / "features",
        }
        if (folder / "splits.json").exists():
            parts["splits"] = folder / "splits.json"
        return cls(**(parts | elsewhere))

    def read(
        self, *, crop: bool = True, known_splits: Mapping[str, Iterable[str]] | None = None
    ) -> PairData:
        """Read the pairs and drop, counted by reason, those that cannot be used. Writes nothing.

        `known_splits` decide where no file of splits does. With `crop` False every scene is kept
        whole, its product visible: the ablation, not the paper. Raises DataError where a file is
        missing or unreadable, or nothing usable is left.
        """
        named = read_splits(self.splits) if self.splits is not None else known_splits
        return read_pairs(self.pairs, self.categories, self.images, crop=crop, named_splits=named)
