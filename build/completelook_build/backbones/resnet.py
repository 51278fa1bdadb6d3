"""The frozen backbone: torchvision's ResNet50 as a feature extractor, and its weights' sources.

`imagenet` loads torchvision's weights, a path loads a state dict, and `random:SEED` is a seeded
initialisation that needs no download and is good enough for the showroom (docs/model.md).
"""

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from completelook.contract import PREPROCESSING
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet, ResNet50_Weights, resnet50
from torchvision.models.resnet import Bottleneck

from completelook_build.console import say
from completelook_build.errors import WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

PRECISIONS: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

# Of the last batch norm of every residual block of a random backbone. At 1 the branches drown the
# input and the features hardly tell one hue from another.
_RANDOM_BRANCH_WEIGHT = 0.2

_WAYS_ON = (
    "Give a weights file (--backbone FILE, a resnet50 state dict), put the file into the cache "
    "folder that TORCH_HOME names (hub/checkpoints/), or take a seeded random backbone "
    "(--backbone random:0)"
)


@dataclass(frozen=True)
class BackboneSource:
    """Where a backbone's weights come from: `imagenet`, `random:SEED` or a state dict's path."""

    text: str

    @property
    def random_seed(self) -> int | None:
        """The seed of a random backbone, None for a trained one.

        Raises WeightsError where the seed is not a number.
        """
        kind, _, seed = self.text.partition(":")
        if kind != "random":
            return None
        if not seed.isdecimal():
            raise WeightsError(
                f"backbone {self.text!r}: the seed must be a whole number, as in random:0"
            )
        return int(seed)

    def announce(self) -> None:
        """Say so where the backbone is a random one, which nobody should take for a trained one."""
        if self.random_seed is not None:
            say(f"backbone {self.text}: random weights with calibrated batch norms, not ImageNet's")


def load_resnet(source: BackboneSource) -> ResNet:
    """A ResNet50 with the weights of a source; a random one still wants `calibrate`.

    Raises WeightsError where the weights cannot be found, downloaded or read.
    """
    seed = source.random_seed
    if seed is not None:
        return _random_resnet(seed)
    if source.text == "imagenet":
        return _imagenet_resnet()
    return resnet_from_file(Path(source.text))


def _random_resnet(seed: int) -> ResNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        resnet = resnet50(weights=None)
    for module in resnet.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, _RANDOM_BRANCH_WEIGHT)
    return resnet.eval()


def _imagenet_resnet() -> ResNet:
    # The first recipe's weights: closest to the paper's, and better frozen features than the second
    # recipe's, whose label smoothing and mixing flatten them.
    weights = ResNet50_Weights.IMAGENET1K_V1
    try:
        return resnet50(weights=weights).eval()
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"ResNet50's ImageNet weights cannot be downloaded from {weights.url} ({error}). "
            f"{_WAYS_ON}"
        ) from error


def resnet_from_file(path: Path) -> ResNet:
    """A ResNet50 with the state dict of a file.

    Raises WeightsError where the file is missing or is not such a state dict.
    """
    if not path.is_file():
        raise WeightsError(f"backbone {str(path)!r}: no such weights file. {_WAYS_ON}")
    resnet = resnet50(weights=None)
    try:
        resnet.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{path}: not a state dict of torchvision's resnet50 ({reason}). {_WAYS_ON}"
        ) from error
    return resnet.eval()


def calibrate(resnet: ResNet, batches: Iterable[Tensor]) -> None:
    """Set a random backbone's batch-norm statistics from images, UINT8 [B, 224, 224, 3]."""
    norms = [module for module in resnet.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    resnet.train()
    with torch.inference_mode():
        for images in batches:
            resnet(normalise(images, _per_channel(IMAGENET_MEAN), _per_channel(IMAGENET_DEVIATION)))
    resnet.eval()


def normalise(images: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """UINT8 [B, H, W, 3] -> [B, 3, H, W], channels-last in memory as the permutation leaves it."""
    return (images.permute(0, 3, 1, 2) - mean) / deviation


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1) * 255


class Backbone(nn.Module):
    """What Triton serves as `backbone`: an image to its feature map, pooled vector and id.

    Batch norms are fused into the convolutions and the weights lie channels-last, as the permuted
    image does: the same module extracts features for training and is served, so that both agree.
    """

    mean: Tensor
    deviation: Tensor
    backbone_id: Tensor

    def __init__(self, resnet: ResNet, precision: str = "fp32") -> None:
        super().__init__()
        dtype = PRECISIONS[precision]
        fused = _fuse(resnet)
        fused = fused.to(dtype).to(memory_format=torch.channels_last)
        self.block_1_to_3 = nn.Sequential(
            fused.conv1, fused.relu, fused.maxpool, fused.layer1, fused.layer2, fused.layer3
        )
        self.block_4 = fused.layer4
        self.register_buffer("mean", _per_channel(IMAGENET_MEAN))
        self.register_buffer("deviation", _per_channel(IMAGENET_DEVIATION))
        self.id = weights_id(resnet, precision, PREPROCESSING)
        self.register_buffer("backbone_id", torch.tensor([self.id], dtype=torch.int64))
        self.dtype = dtype

    def forward(
        self,
        IMAGE__0: Tensor,  # noqa: N803 - libtorch names inputs by argument
    ) -> tuple[Tensor, Tensor, Tensor]:
        """UINT8 [B, 224, 224, 3] -> m [B, 1024, 14, 14], v [B, 2048], id [B, 1]."""
        images = normalise(IMAGE__0, self.mean, self.deviation).to(self.dtype)  # [B, 3, 224, 224]
        feature_map = self.block_1_to_3(images)  # [B, 1024, 14, 14]
        pooled = self.block_4(feature_map).mean(dim=[2, 3])  # [B, 2048]
        return (
            feature_map.float().contiguous(),
            pooled.float(),
            self.backbone_id.expand(IMAGE__0.shape[0], 1).contiguous(),
        )


def _fuse(resnet: ResNet) -> ResNet:
    """A copy with every batch norm fused into the convolution before it."""
    fused = resnet50(weights=None)
    fused.load_state_dict(resnet.state_dict())
    fused.eval()
    fused.conv1 = fuse_conv_bn_eval(fused.conv1, fused.bn1)
    for block in fused.modules():
        if isinstance(block, Bottleneck):
            for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")):
                setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
                setattr(block, norm, nn.Identity())
            if block.downsample is not None:
                block.downsample = fuse_conv_bn_eval(block.downsample[0], block.downsample[1])
    return fused.requires_grad_(False)


def weights_id(module: nn.Module, *labels: str) -> int:
    """63 bits of a SHA-256 over a module's weights and what else shapes its answers."""
    digest = hashlib.sha256()
    for label in labels:
        digest.update(label.encode() + b"\0")
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode() + b"\0")
        digest.update(str(value.dtype).encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1
