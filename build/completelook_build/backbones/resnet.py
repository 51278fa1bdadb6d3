"""ResNet50, the paper's backbone: regions are block 3's output, the pooled vector block 4's mean.

`resnet50` has torchvision's ImageNet weights, a path those of a state dict, and `random:SEED` a
seeded initialisation that needs no download and is good enough for the showroom (docs/model.md).
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet50_Weights, resnet50
from torchvision.models.resnet import Bottleneck

from completelook_build.backbones.network import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    BackboneCard,
    Network,
)
from completelook_build.backbones.served import normalise, per_row
from completelook_build.backbones.staged import Pooling, StagedNetwork
from completelook_build.backbones.weights import WAYS_ON, load_weights
from completelook_build.errors import WeightsError

FAMILY = "resnet50"
_POOLED_STAGES = [4, 5, 6]  # in the trunk: blocks 1 to 3
_POOLED_CHANNELS = (256, 512, 1024)

# Of the last batch norm of every residual block of a random backbone. At 1 the branches drown the
# input and the features hardly tell one hue from another.
_RANDOM_BRANCH_WEIGHT = 0.2


def _without_classifier(resnet: ResNet, pooling: Pooling) -> StagedNetwork:
    """torchvision's ResNet50: block 3 [B, 1024, 14, 14], and block 4's mean of 2,048."""
    trunk = nn.Sequential(
        resnet.conv1,
        resnet.bn1,
        resnet.relu,
        resnet.maxpool,
        resnet.layer1,
        resnet.layer2,
        resnet.layer3,
    )
    stages = _POOLED_STAGES if pooling == "stages" else []
    return StagedNetwork(trunk, [resnet.layer4], stages).eval()


def build(card: BackboneCard) -> nn.Module:
    """The module of a card, its weights still to be loaded."""
    return _without_classifier(resnet50(weights=None), card.pooling)


def trained_resnet(source: str, pooling: Pooling) -> Network:
    """With ImageNet's weights, downloaded or from torch's cache. Raises WeightsError."""
    # The first recipe's weights: closest to the paper's, and better frozen features than the second
    # recipe's, whose label smoothing and mixing flatten them.
    weights = ResNet50_Weights.IMAGENET1K_V1
    try:
        resnet = resnet50(weights=weights)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"ResNet50's ImageNet weights cannot be downloaded from {weights.url} ({error}). "
            f"{WAYS_ON}"
        ) from error
    return _network(
        resnet, source, f"torchvision's, ImageNet, {weights.name}", "BSD-3-Clause", pooling
    )


def resnet_from_file(path: Path, pooling: Pooling) -> Network:
    """With the state dict of a file.

    Raises WeightsError where the file is missing or is not such a state dict.
    """
    resnet = resnet50(weights=None)
    load_weights(resnet, path, "torchvision's resnet50")
    return _network(resnet, str(path), f"the file {path.name}", "license not known", pooling)


def random_resnet(source: str, seed: int, pooling: Pooling) -> Network:
    """Seeded random weights, which still want `settle_batch_norms`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        resnet = resnet50(weights=None)
    for module in resnet.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, _RANDOM_BRANCH_WEIGHT)
    return _network(resnet, source, "random weights, not trained", "no license needed", pooling)


def _network(
    resnet: ResNet, source: str, weights: str, license_name: str, pooling: Pooling
) -> Network:
    card = BackboneCard(
        source=source,
        family=FAMILY,
        architecture="resnet50",
        weights=weights,
        license=license_name,
        mean=IMAGENET_MEAN,
        deviation=IMAGENET_DEVIATION,
        channels=1024,
        pooled_size=2048 + (2 * sum(_POOLED_CHANNELS) if pooling == "stages" else 0),
        pooling=pooling,
    )
    return Network(card, _without_classifier(resnet, pooling))


def settle_batch_norms(network: Network, batches: Iterable[Tensor]) -> None:
    """Set a random backbone's batch-norm statistics from images, UINT8 [B, 224, 224, 3]."""
    card, module = network.card, network.module
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
    module.train()
    with torch.inference_mode():
        for images in batches:
            module(normalise(images, per_row(card.mean), per_row(card.deviation)))
    module.eval()
