"""The splits that a trained model is judged on: of scenes that it was not trained on."""

from collections.abc import Sequence

from completelook_build.data import Dataset, PairData
from completelook_build.errors import DataError
from completelook_build.features import Split, read_features
from completelook_build.training.model_folder import TrainedModel

# What a split must be apart from: an epoch is chosen on the validation scenes.
_SEEN_BEFORE = {"validation": ("train",), "test": ("train", "validation")}


def read_held_out(
    model: TrainedModel, dataset: Dataset, names: Sequence[str], *, trained_scenes: bool = False
) -> dict[str, Split]:
    """Splits of a data set over the features of a model's backbone, by name.

    Without a file of splits they are those that the model was trained with. Raises DataError where
    the model saw some of their scenes in training, unless `trained_scenes` asks for them.
    """
    data = dataset.read(known_splits=model.card.get("splits"))
    if not trained_scenes:
        for name in names:
            _check_unseen(model, data, name)
    features = read_features(data, model.backbone(), dataset.features, names)
    return {name: features.split(name, model.config.categories) for name in names}


def _check_unseen(model: TrainedModel, data: PairData, name: str) -> None:
    recorded = model.card.get("splits")
    if recorded is None:
        raise DataError(
            "the model does not tell which scenes it was trained on: train it anew, or take all "
            "scenes with --trained-scenes"
        )
    scenes = {pair.scene for pair in data.split(name)}
    seen = sorted(s for own in _SEEN_BEFORE[name] for s in scenes.intersection(recorded[own]))
    if seen:
        raise DataError(
            f"{len(seen)} of {len(scenes)} {name} scenes were trained on, {seen[0]!r} for one, so "
            "that figures would flatter the model: name the splits it was trained with "
            "(--splits FILE), or ask for such scenes with --trained-scenes"
        )
