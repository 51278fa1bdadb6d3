"""A convolutional network in stages, and what its pooled vector is made of."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

# "head": the mean over positions of the last map, as the network was trained for. "stages": beside
# it mean and deviation over positions of each earlier stage's map, which say what colors and
# textures a picture has and how they vary (Huang and Belongie, ICCV 2017, call them its style).
Pooling = Literal["head", "stages"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class StagedNetwork(nn.Module):
    """A trunk of layers up to the regions and a tail from there to the last map.

    `stages` are the places in the trunk whose outputs are pooled as well.
    """

    stages: list[int]

    def __init__(self, trunk: nn.Sequential, tail: nn.Module, stages: list[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.tail = tail
        self.stages = stages

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, 224, 224] -> regions [B, C, 14, 14] and pooled [B, D]."""
        feature_map = images
        statistics: list[Tensor] = []
        for number, layer in enumerate(self.trunk):
            feature_map = layer(feature_map)
            if number in self.stages:
                statistics.append(mean_and_deviation(feature_map))
        head = self.tail(feature_map).mean(dim=[2, 3])
        if len(statistics) == 0:
            return feature_map, head
        return feature_map, torch.cat([head.float()] + statistics, dim=1)  # noqa: RUF005 - TorchScript


def mean_and_deviation(feature_map: Tensor) -> Tensor:
    """Over positions: [B, C, H, W] -> FP32 [B, 2 C]."""
    deviation, mean = torch.std_mean(feature_map.float(), dim=[2, 3])
    return torch.cat([mean, deviation], dim=1)
