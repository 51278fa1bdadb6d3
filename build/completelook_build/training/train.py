"""From data to a model folder: the one path that `completelook-build train` takes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.models import ResNet

from completelook_build import distributed
from completelook_build.backbones.resnet import Backbone, BackboneSource, calibrate, load_resnet
from completelook_build.console import progress_bar, say
from completelook_build.data.pairs import PairData, describe_dropped, read_pairs
from completelook_build.features.split import Split, read_features, scene_picture
from completelook_build.features.store import BATCH_SIZE, Picture, load_readable
from completelook_build.heads import HeadsConfig
from completelook_build.training.checkpoint import Checkpoint
from completelook_build.training.loop import Trained, TrainingConfig, train_heads
from completelook_build.training.model_folder import TrainedModel, heads_id, save_model, versions

_CALIBRATION_IMAGES = 128


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a trained model will be."""

    pairs: Path
    categories: Path
    images: Path
    features: Path
    backbone: str = "imagenet"
    attention_scale: float | None = None
    training: TrainingConfig


def train_model(recipe: Recipe, out: Path, *, resume: bool = False) -> TrainedModel:
    """Train a model and save it; under torchrun the processes share the work.

    With `resume` an unfinished training in the folder goes on. Raises DataError, WeightsError,
    TrainingError or ModelError.
    """
    with distributed.first_before_others():
        data = read_pairs(recipe.pairs, recipe.categories, recipe.images)
    say(f"{len(data.pairs)} pairs, {describe_dropped(data.dropped)}")
    resnet = prepare_backbone(BackboneSource(recipe.backbone), data, recipe.training.seed)
    backbone = Backbone(resnet).eval()
    features = read_features(data, backbone, recipe.features, ("train", "validation"))
    config = HeadsConfig(categories=data.categories, attention_scale=recipe.attention_scale)
    train = features.split("train", config.categories)
    validation = features.split("validation", config.categories)
    untaught = set(range(len(config.categories))) - set(train.categories.tolist())
    if untaught:
        names = ", ".join(config.categories[row] for row in sorted(untaught))
        say(f"nothing to learn from in {names}: what the model says of these is arbitrary")
    origin = _origin(recipe, config, backbone, train, validation)
    checkpoint = Checkpoint(out, origin, resume=resume)
    trained = train_heads(train, validation, config, recipe.training, checkpoint=checkpoint)
    say(
        f"best epoch {trained.best.epoch} of {len(trained.history)}: "
        f"pairwise accuracy {trained.best.validation_accuracy:.3f} on held-out scenes"
    )
    card = _card(recipe, data, backbone, trained, config)
    model = TrainedModel(resnet, trained.heads, config, card)
    if distributed.is_first():
        save_model(out, model, trained.history)
        checkpoint.remove()
    return model


def _origin(
    recipe: Recipe, config: HeadsConfig, backbone: Backbone, train: Split, validation: Split
) -> dict[str, object]:
    """What a checkpoint depends on, under the names that a refusal gives."""
    pairs = repr((train.pairs, validation.pairs)).encode()
    return {
        **asdict(recipe.training),
        **asdict(config),
        "backbone": f"{recipe.backbone} {backbone.id:016x}",
        "set of pairs": hashlib.sha256(pairs).hexdigest(),
        "number of processes": distributed.world_size(),
    }


def prepare_backbone(source: BackboneSource, data: PairData, seed: int) -> ResNet:
    """The backbone of a source; a random one is announced and calibrated on training pictures."""
    resnet = load_resnet(source)
    if source.random_seed is None:
        return resnet
    say(
        f"backbone {source.text}: random weights, calibrated on the training pictures; not ImageNet"
    )
    pairs = data.split("train")
    pictures = list(
        dict.fromkeys(
            [scene_picture(data, pair) for pair in pairs]
            + [Picture(data.image(pair.product)) for pair in pairs]
        )
    )
    chosen = np.random.default_rng(seed).permutation(len(pictures))[:_CALIBRATION_IMAGES]
    if distributed.is_first():
        with progress_bar("calibrating", total=len(chosen), unit="images") as advance:
            calibrate(resnet, _batches([pictures[row] for row in chosen], advance))
    distributed.copy_from_first(resnet)
    return resnet


def _batches(pictures: Sequence[Picture], advance: Callable[[int], None]) -> Iterator[torch.Tensor]:
    """UINT8 [B, 224, 224, 3] each; pictures that cannot be read are left out."""
    for start in range(0, len(pictures), BATCH_SIZE):
        images = [load_readable(picture) for picture in pictures[start : start + BATCH_SIZE]]
        readable = [image for image in images if image is not None]
        if readable:
            yield torch.from_numpy(np.stack(readable))
        advance(len(images))


def _card(
    recipe: Recipe, data: PairData, backbone: Backbone, trained: Trained, config: HeadsConfig
) -> dict[str, object]:
    identifier = heads_id(trained.heads, config)
    return {
        "model_id": f"{backbone.id ^ identifier:016x}",
        "backbone_id": f"{backbone.id:016x}",
        "heads_id": f"{identifier:016x}",
        "backbone": recipe.backbone,
        "training": asdict(recipe.training),
        "machine": {
            "device": distributed.device_name(),
            "processes": distributed.world_size(),
            "threads": torch.get_num_threads(),
        },
        "best": asdict(trained.best),
        "data": {
            "sha256": data.sha256,
            "pairs": {name: len(data.split(name)) for name in data.splits},
            "dropped": dict(data.dropped),
        },
        "versions": versions(),
    }
