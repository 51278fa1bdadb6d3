"""The pairs of one split as arrays over cached features: what training and evaluation read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from completelook_build import distributed
from completelook_build.backbones import Backbone
from completelook_build.console import say
from completelook_build.data import Pair, PairData, describe_dropped
from completelook_build.errors import DataError
from completelook_build.features.extract import extract
from completelook_build.features.picture import Picture
from completelook_build.features.store import Features


@dataclass(frozen=True, kw_only=True)
class Views:
    """How many views of a picture training draws from; evaluation takes the plain one.

    A scene gets the more of them the fewer scenes there are: at most `scenes`, and no more than
    make `scene_images` images of all, but its mirror where it gets any.
    """

    scenes: int = 1
    products: int = 1
    scene_images: int = 2000

    def of_scenes(self, count: int) -> int:
        """The number for each of so many scene pictures."""
        return min(self.scenes, max(2, self.scene_images // count))


@dataclass(frozen=True)
class PairFeatures:
    """The cached features of scenes, product cropped out, and of products, and their rows."""

    data: PairData
    scenes: Features
    products: Features
    scene_row: Mapping[Picture, int]
    product_row: Mapping[str, int]

    def split(self, name: str, categories: Sequence[str]) -> "Split":
        """The pairs of a split that can be used; of the others, the user is told why not.

        Raises DataError where none is left.
        """
        split = make_split(self, name, categories)
        if split.dropped:
            say(f"{name}: {len(split)} pairs, {describe_dropped(split.dropped)}")
        return split


@dataclass(frozen=True)
class Split:
    """N pairs as rows of the feature cache.

    The candidates of a category are the split's own products of it, so that a test on unseen scenes
    also ranks unseen products where the data keeps them apart.
    """

    features: PairFeatures
    pairs: tuple[Pair, ...]
    scene_rows: NDArray[np.int64]  # [N]
    product_rows: NDArray[np.int64]  # [N]
    categories: NDArray[np.int64]  # [N], rows of the category table
    candidates: Mapping[int, NDArray[np.int64]]  # category -> product rows
    fitting: Mapping[tuple[str, int], frozenset[int]]  # scene and category -> known product rows
    dropped: Counter[str]  # pairs by the reason why they cannot be used

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def sizes(self) -> tuple[int, int]:
        """The channels of a region and the size of a pooled vector, as the backbone gave them."""
        scenes, row = self.features.scenes, self.scene_rows[:1]
        return scenes.regions(row).shape[-1], scenes.pooled(row).shape[-1]

    def negatives(self, index: int) -> NDArray[np.int64]:
        """The candidates of a pair's category that are not known to fit its scene."""
        category = int(self.categories[index])
        fitting = self.fitting[self.pairs[index].scene, category]
        candidates = self.candidates[category]
        return candidates[~np.isin(candidates, list(fitting))]

    def draw_negatives(
        self, indices: NDArray[np.int64], count: int, random: np.random.Generator
    ) -> NDArray[np.int64]:
        """Random negatives of the same category for some pairs, [len(indices), count]."""
        return np.array([self._draw(int(index), count, random) for index in indices])

    def _draw(self, index: int, count: int, random: np.random.Generator) -> list[int]:
        """Draw from all candidates and reject the few that fit: there are thousands."""
        category = int(self.categories[index])
        candidates = self.candidates[category]
        fitting = self.fitting[self.pairs[index].scene, category]
        drawn: list[int] = []
        while len(drawn) < count:
            rows = candidates[random.integers(len(candidates), size=count)]
            drawn += [row for row in rows.tolist() if row not in fitting]
        return drawn[:count]


def read_features(
    data: PairData,
    backbone: Backbone,
    cache: Path,
    splits: Sequence[str],
    *,
    views: Views = Views(),
) -> PairFeatures:
    """The features of the scenes and products of some splits, computed where not yet cached."""
    pairs = [pair for name in splits for pair in data.split(name)]
    scenes = list(dict.fromkeys(scene_picture(data, pair) for pair in pairs))
    products = list(dict.fromkeys(pair.product for pair in pairs))
    if not pairs:
        raise DataError(f"no pair is in the splits {', '.join(splits)}")
    product_pictures = [Picture(data.pictures[product]) for product in products]
    backbone = backbone.to(distributed.device())
    return PairFeatures(
        data,
        extract(
            backbone,
            scenes,
            cache,
            with_regions=True,
            label="scene features",
            views=views.of_scenes(len(scenes)),
        ),
        extract(
            backbone,
            product_pictures,
            cache,
            with_regions=False,
            label="product features",
            views=views.products,
        ),
        {picture: row for row, picture in enumerate(scenes)},
        {product: row for row, product in enumerate(products)},
    )


def scene_picture(data: PairData, pair: Pair) -> Picture:
    """A pair's scene with its product cropped out."""
    return Picture(data.pictures[pair.scene], pair.crop.box)


def make_split(features: PairFeatures, name: str, categories: Sequence[str]) -> Split:
    """See `PairFeatures.split`."""
    row_of = {category: row for row, category in enumerate(categories)}
    dropped: Counter[str] = Counter()
    pairs = []
    for pair in features.data.split(name):
        if pair.category not in row_of:
            dropped["category that the model does not know"] += 1
        elif not _is_readable(features, pair):
            dropped["picture that cannot be read"] += 1
        else:
            pairs.append(pair)
    candidates: dict[int, set[int]] = {}
    fitting: dict[tuple[str, int], set[int]] = {}
    for pair in pairs:
        category, product = row_of[pair.category], features.product_row[pair.product]
        candidates.setdefault(category, set()).add(product)
        fitting.setdefault((pair.scene, category), set()).add(product)
    usable = [
        pair
        for pair in pairs
        # What is known to fit is among the candidates.
        if len(candidates[row_of[pair.category]]) > len(fitting[pair.scene, row_of[pair.category]])
    ]
    if len(usable) < len(pairs):
        dropped["no other product of its category in the split"] += len(pairs) - len(usable)
    if not usable:
        raise DataError(f"the split {name!r} has no pair left ({describe_dropped(dropped)})")
    return Split(
        features,
        tuple(usable),
        np.array([features.scene_row[scene_picture(features.data, pair)] for pair in usable]),
        np.array([features.product_row[pair.product] for pair in usable]),
        np.array([row_of[pair.category] for pair in usable]),
        {category: np.array(sorted(rows)) for category, rows in candidates.items()},
        {key: frozenset(rows) for key, rows in fitting.items()},
        dropped,
    )


def _is_readable(features: PairFeatures, pair: Pair) -> bool:
    scene = features.scene_row[scene_picture(features.data, pair)]
    product = features.product_row[pair.product]
    return not (features.scenes.broken[scene] or features.products.broken[product])
