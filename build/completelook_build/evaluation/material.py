"""What contenders learn from and are tested on: the data's own split, or one for each fold."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import numpy as np

from completelook_build.backbones import Backbone
from completelook_build.data import SPLITS, Dataset, PairData
from completelook_build.errors import DataError
from completelook_build.features import PairFeatures, Split, prepare_backbone, read_features
from completelook_build.training import SmallDataConfig

_BACKBONE_SEED = 0
# Of the scenes that a fold does not test; with five folds a tenth of all, as in the data's split.
_VALIDATION_SHARE = 1 / 8
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Material:
    """Splits over one backbone's features.

    `read_uncropped` gives training and validation with whole scenes, in which the products show;
    `read_for_small_data` the three splits over what the recipe for small data takes of pictures,
    the validation scenes among those of training.
    """

    data: PairData
    backbone_id: int
    train: Split
    validation: Split
    test: Split
    read_uncropped: Callable[[], tuple[Split, Split]]
    read_for_small_data: Callable[[], tuple[Split, Split, Split]]

    @cached_property
    def sha256(self) -> str:
        """Changes with the pairs, the splits, the backbone and with every picture that it saw."""
        splits = {name: sorted(self.data.splits[name]) for name in SPLITS}
        decisive = (self.data.sha256, self.backbone_id, splits)
        digest = hashlib.sha256(repr(decisive).encode())
        for split in (self.train, self.validation, self.test):
            products = np.concatenate(list(split.candidates.values()))
            for features, rows in (
                (split.features.scenes, np.unique(split.scene_rows)),
                (split.features.products, np.unique(products)),
            ):
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    some = features.pooled(rows[start : start + _ROWS_AT_ONCE])
                    digest.update(some.numpy().tobytes())
        return digest.hexdigest()


def read_materials(dataset: Dataset, backbone: str, folds: int | None) -> list[Material]:
    """Read the data and its features, computed where not yet cached; one material for each fold.

    Without folds it is the data's own split. A random backbone has its batch norms set once, by
    the data's training pictures. Raises DataError or WeightsError.
    """
    data = dataset.read()
    eager = Backbone(prepare_backbone(backbone, data, _BACKBONE_SEED))
    features = read_features(data, eager, dataset.features, SPLITS)

    @cache
    def uncropped() -> PairFeatures:
        names = SPLITS if folds else ("train", "validation")
        return read_features(dataset.read(crop=False), eager, dataset.features, names)

    @cache
    def for_small_data() -> PairFeatures:
        config = SmallDataConfig()
        network = prepare_backbone(backbone, data, _BACKBONE_SEED, config.pooling)
        staged = Backbone(network)
        return read_features(data, staged, dataset.features, SPLITS, views=config.views)

    if folds is None:
        return [_material(features, uncropped, for_small_data, eager.id)]
    return list(_folded(features, uncropped, for_small_data, eager.id, folds))


def _folded(
    features: PairFeatures,
    uncropped: Callable[[], PairFeatures],
    for_small_data: Callable[[], PairFeatures],
    backbone_id: int,
    folds: int,
) -> Iterator[Material]:
    for fold in range(folds):
        try:
            yield _material(
                split_by_fold(features, fold, folds),
                lambda fold=fold: split_by_fold(uncropped(), fold, folds),  # type: ignore[misc]
                lambda fold=fold: split_by_fold(for_small_data(), fold, folds),  # type: ignore[misc]
                backbone_id,
            )
        except DataError as error:
            raise DataError(f"fold {fold + 1} of {folds}: {error}; take fewer folds") from error


def _material(
    features: PairFeatures,
    uncropped: Callable[[], PairFeatures],
    for_small_data: Callable[[], PairFeatures],
    backbone_id: int,
) -> Material:
    categories = features.data.categories
    train, validation, test = (features.split(name, categories) for name in SPLITS)

    def read_uncropped() -> tuple[Split, Split]:
        whole = uncropped()
        return whole.split("train", categories), whole.split("validation", categories)

    def read_for_small_data() -> tuple[Split, Split, Split]:
        viewed = for_small_data()
        validation, test = (viewed.split(name, categories) for name in ("validation", "test"))
        splits = viewed.data.splits
        # Nothing is chosen on the validation scenes, so that they teach as well.
        joined = {**splits, "train": splits["train"] | splits["validation"]}
        taught = replace(viewed, data=replace(viewed.data, splits=joined))
        return taught.split("train", categories), validation, test

    return Material(
        features.data, backbone_id, train, validation, test, read_uncropped, read_for_small_data
    )


def split_by_fold(features: PairFeatures, fold: int, folds: int) -> PairFeatures:
    """The same pairs, split anew: a fold's scenes to test, the others to train and choose by."""
    scenes = {pair.scene for pair in features.data.pairs}
    test = {scene for scene in scenes if int(_fraction("fold", scene) * folds) == fold}
    others = sorted(scenes - test, key=partial(_fraction, "validation"))
    validation = set(others[: math.ceil(len(others) * _VALIDATION_SHARE)])
    parts: Sequence[set[str]] = (scenes - test - validation, validation, test)
    splits = {name: frozenset(part) for name, part in zip(SPLITS, parts, strict=True)}
    return replace(features, data=replace(features.data, splits=splits))


def _fraction(purpose: str, scene: str) -> float:
    """A number in [0, 1) that follows from a scene's id alone, another one for each purpose."""
    digest = hashlib.sha256(f"{purpose}:{scene}".encode()).digest()
    # 53 bits: a float holds them exactly, and never rounds up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
