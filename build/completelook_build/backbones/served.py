"""The backbone as it is served, which is also what extracts features for training."""

import copy
import warnings
from collections.abc import Mapping

import torch
from completelook.contract import IMAGE_SIZE
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from completelook_build.backbones.fusing import fuse_batch_norms
from completelook_build.backbones.network import Network

PRECISIONS: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def normalise(images: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """UINT8 [B, H, W, 3] -> [B, 3, H, W], channels-last in memory as the permutation leaves it.

    By whole rows, with mean and deviation of `per_row`: with a value for each color the innermost
    loop would be three numbers long, and all of it take more than twice as long.
    """
    rows = (images.flatten(2) - mean) / deviation  # [B, H, W * 3]
    scaled: Tensor = rows.unflatten(2, [images.shape[2], 3])  # [B, H, W, 3]
    return scaled.permute(0, 3, 1, 2)


def per_row(values: tuple[float, float, float]) -> Tensor:
    """A value for each color, as often as a row has pixels: [224 * 3]."""
    return torch.tensor(values).repeat(IMAGE_SIZE)


class Backbone(nn.Module):
    """What Triton serves as `backbone`: an image to its feature map, pooled vector and id.

    Batch norms are fused into the convolutions and the weights lie channels-last, as the permuted
    image does: the same module extracts features for training and is served, so that both agree.
    """

    __jit_ignored_attributes__ = ("card",)

    mean: Tensor
    deviation: Tensor
    backbone_id: Tensor

    def __init__(self, network: Network, precision: str = "fp32") -> None:
        super().__init__()
        dtype = PRECISIONS[precision]
        example = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
        fused = fuse_batch_norms(network.module, example).requires_grad_(False)
        self.network = fused.to(dtype).to(memory_format=torch.channels_last)
        self.card = network.card
        self.register_buffer("mean", per_row(network.card.mean))
        self.register_buffer("deviation", per_row(network.card.deviation))
        self.id = network.id(precision)
        self.register_buffer("backbone_id", torch.tensor([self.id], dtype=torch.int64))
        self.dtype = dtype
        self.eval()

    def forward(
        self,
        IMAGE__0: Tensor,  # noqa: N803 - libtorch names inputs by argument
    ) -> tuple[Tensor, Tensor, Tensor]:
        """UINT8 [B, 224, 224, 3] -> m [B, C, 14, 14], v [B, D], id [B, 1]."""
        images = normalise(IMAGE__0, self.mean, self.deviation).to(self.dtype)  # [B, 3, 224, 224]
        feature_map, pooled = self.network(images)  # [B, C, 14, 14], [B, D]
        return (
            feature_map.float().contiguous(),
            pooled.float(),
            self.backbone_id.expand(IMAGE__0.shape[0], 1).contiguous(),
        )

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def script(self) -> torch.jit.ScriptModule:
        """The same as TorchScript: compiled, or traced where the network says that it must be."""
        scriptable = self
        if getattr(self.network, "must_be_traced", False):
            scriptable = copy.copy(self)
            scriptable._modules = {"network": _traced(self.network, self.dtype)}
        script: torch.jit.ScriptModule = torch.jit.script(scriptable)
        return script


def _traced(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A trace at two images; what would hold for that number alone shows in the export's check."""
    example = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=dtype)
    example = example.to(memory_format=torch.channels_last)
    with warnings.catch_warnings(), torch.inference_mode():
        # What depends on the picture's size is a constant here: the size is.
        warnings.simplefilter("ignore", TracerWarning)
        traced: nn.Module = torch.jit.trace(network, example, check_trace=False)
    return traced
