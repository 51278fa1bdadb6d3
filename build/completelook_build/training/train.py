"""From data to a model folder: the one path that `completelook-build train` takes."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import torch

from completelook_build import distributed
from completelook_build.backbones import DEFAULT, Backbone
from completelook_build.console import say
from completelook_build.data import Dataset, PairData, describe_dropped
from completelook_build.features import (
    Split,
    prepare_backbone,
    read_features,
)
from completelook_build.heads import HeadsConfig
from completelook_build.training.checkpoint import Checkpoint
from completelook_build.training.loop import Trained, train_heads
from completelook_build.training.model_folder import TrainedModel, save_model, versions
from completelook_build.training.recipe import Recipe, recipe_name


def train_model(
    dataset: Dataset,
    out: Path,
    *,
    backbone: str = DEFAULT,
    attention_scale: float | None = None,
    config: Recipe,
    resume: bool = False,
) -> TrainedModel:
    """Train a model and save it; under torchrun the processes share the work.

    With `resume` an unfinished training in the folder goes on. Raises DataError, WeightsError,
    TrainingError or ModelError.
    """
    data = dataset.read()
    say(f"{len(data.pairs)} pairs, {describe_dropped(data.dropped)}")

    network = prepare_backbone(backbone, data, config.seed, config.pooling)
    eager = Backbone(network)
    features = read_features(
        data, eager, dataset.features, ("train", "validation"), views=config.views
    )
    train = features.split("train", data.categories)
    validation = features.split("validation", data.categories)

    heads = HeadsConfig(
        categories=data.categories,
        channels=network.card.channels,
        pooled_size=network.card.pooled_size,
        attention_scale=attention_scale,
        projected_size=config.projected_size,
        global_skip=config.global_skip,
    )
    _name_untaught(heads, train)

    origin = _origin(config, heads, f"{backbone} {eager.id:016x}", train, validation)
    checkpoint = Checkpoint(out, origin, resume=resume)
    trained = train_heads(train, validation, heads, config, checkpoint=checkpoint)
    say(
        f"epoch {trained.kept.epoch} of {len(trained.history)} is kept: "
        f"pairwise accuracy {trained.kept.validation_accuracy:.3f} on held-out scenes"
    )

    card = _card(data, config, trained)
    model = TrainedModel(network, trained.heads, heads, card)
    if distributed.is_first():
        save_model(out, model, trained.history)
        checkpoint.remove()
    return model


def _name_untaught(heads: HeadsConfig, train: Split) -> None:
    """Say which categories no training pair teaches."""
    untaught = sorted(set(range(len(heads.categories))) - set(train.categories.tolist()))
    if untaught:
        names = ", ".join(heads.categories[row] for row in untaught)
        say(f"nothing to learn from in {names}: what the model says of these is arbitrary")


def _origin(
    config: Recipe, heads: HeadsConfig, backbone: str, train: Split, validation: Split
) -> dict[str, object]:
    """What a checkpoint depends on, under the names that a refusal gives."""
    pairs = repr((train.pairs, validation.pairs)).encode()
    return {
        "recipe": recipe_name(config),
        **asdict(config),
        **asdict(heads),
        "backbone": backbone,
        "set of pairs": hashlib.sha256(pairs).hexdigest(),
        "number of processes": distributed.world_size(),
    }


def _card(data: PairData, config: Recipe, trained: Trained) -> dict[str, object]:
    """What made a model, and which scenes it was made with."""
    return {
        "recipe": recipe_name(config),
        "training": asdict(config),
        "machine": {
            "device": distributed.device_name(),
            "processes": distributed.world_size(),
            "threads": torch.get_num_threads(),
        },
        "kept": asdict(trained.kept),
        "data": {
            "sha256": data.sha256,
            "pairs": {name: len(data.split(name)) for name in data.splits},
            "dropped": dict(data.dropped),
        },
        "versions": versions(),
        "splits": {name: sorted(scenes) for name, scenes in data.splits.items()},
    }
