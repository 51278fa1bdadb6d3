"""What a set of pairs is: how many of what, where the crops lie and how much they keep."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.markup import escape

from completelook_build.console import print_figures
from completelook_build.data.crop import CROP_SIDES
from completelook_build.data.pairs import Pair, PairData
from completelook_build.data.splits import SPLITS

_QUANTILES = {"least": 0.0, "quarter": 0.25, "median": 0.5, "three quarters": 0.75, "most": 1.0}


@dataclass(frozen=True)
class Counts:
    """How many different scenes and products some pairs have, and how many pairs there are."""

    scenes: int
    products: int
    pairs: int


@dataclass(frozen=True)
class CropFigures:
    """The crops on one side: pairs, their share of all, and the area kept, as shares of scenes."""

    pairs: int
    share: float
    kept_area: Mapping[str, float]  # by the names in `_QUANTILES`


@dataclass(frozen=True)
class DataDescription:
    """Figures of the pairs that can be used, and why the others cannot."""

    splits: Mapping[str, Counts]
    categories: Mapping[str, Counts]
    crops: Mapping[str, CropFigures]
    dropped: Mapping[str, int]

    def as_json(self) -> dict[str, object]:
        """Everything as one JSON object."""
        return asdict(self)


def describe(data: PairData) -> DataDescription:
    """Count pairs by split, by category and by the side of the crop; "all" is over all of them."""
    splits = {name: _counts(data.split(name)) for name in SPLITS}
    categories = {
        name: _counts([pair for pair in data.pairs if pair.category == name])
        for name in data.categories
    }
    return DataDescription(
        {**splits, "all": _counts(data.pairs)},
        categories,
        _crops(data.pairs),
        dict(Counter(data.dropped).most_common()),
    )


def print_tables(description: DataDescription) -> None:
    """Print the figures as tables on stdout."""
    counts = ("scenes", "products", "pairs")
    print_figures("Splits, by scene", ("split", *counts), _count_rows(description.splits))
    print_figures("Categories", ("category", *counts), _count_rows(description.categories))
    crops = [
        [side, f"{own.pairs:,}", f"{own.share:.1%}", *(f"{a:.1%}" for a in own.kept_area.values())]
        for side, own in description.crops.items()
    ]
    headings = ("side", "pairs", "share", *_QUANTILES)
    print_figures("Crops, and the area of the scene they keep", headings, crops)
    dropped = [(escape(reason), f"{count:,}") for reason, count in description.dropped.items()]
    print_figures("Dropped pairs", ("reason", "pairs"), dropped or [("none", "0")])


def _count_rows(counts: Mapping[str, Counts]) -> list[list[str]]:
    return [
        [escape(name), f"{own.scenes:,}", f"{own.products:,}", f"{own.pairs:,}"]
        for name, own in counts.items()
    ]


def _counts(pairs: Sequence[Pair]) -> Counts:
    scenes, products = {pair.scene for pair in pairs}, {pair.product for pair in pairs}
    return Counts(len(scenes), len(products), len(pairs))


def _crops(pairs: Sequence[Pair]) -> dict[str, CropFigures]:
    """By side, for the sides that there are, and over all."""
    by_side = {
        side: [pair for pair in pairs if pair.crop.side == side] for side in (*CROP_SIDES, "whole")
    }
    figures = {side: _crop_figures(own, len(pairs) or 1) for side, own in by_side.items() if own}
    return {**figures, "all": _crop_figures(pairs, len(pairs) or 1)}


def _crop_figures(pairs: Sequence[Pair], of: int) -> CropFigures:
    areas = [pair.crop.box.area for pair in pairs]
    kept = {name: float(np.quantile(areas, share)) for name, share in _QUANTILES.items()}
    return CropFigures(len(pairs), len(pairs) / of, kept)
