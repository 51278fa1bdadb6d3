"""A convolutional network in stages, and what its pooled vector is made of."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from completelook.contract import REGION_GRID
from torch import Tensor, nn

# "head": means over positions of the last maps. "stages": beside them mean and deviation over
# positions of each earlier stage's map, which say what colors and textures a picture has and how
# they vary (Huang and Belongie, ICCV 2017, call them its style), and all that a classifier gets.
Pooling = Literal["head", "stages"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class StagedNetwork(nn.Module):
    """A trunk of layers up to the regions and a tail from there, whose maps are pooled.

    `stages` are the places in the trunk whose outputs are pooled as well. With a `stem`, a place
    too, its output joins the trunk's in the regions, averaged to their grid, and the means of both
    are pooled: it tells colors apart, which a small network's later maps forget.
    """

    stages: list[int]
    stem: int

    def __init__(
        self,
        trunk: nn.Sequential,
        tail: Sequence[nn.Module],
        stages: list[int],
        stem: int | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.tail = nn.ModuleList(tail)
        self.stages = stages
        self.stem = -1 if stem is None else stem
        self.to_grid = nn.AdaptiveAvgPool2d(REGION_GRID)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, 224, 224] -> regions [B, C, 14, 14] and pooled [B, D]."""
        feature_map = images
        stem: list[Tensor] = []
        statistics: list[Tensor] = []
        for number, layer in enumerate(self.trunk):
            feature_map = layer(feature_map)
            if number == self.stem:
                stem.append(self.to_grid(feature_map))
            if number in self.stages:
                statistics.append(mean_and_deviation(feature_map))
        regions = torch.cat([feature_map] + stem, dim=1)  # noqa: RUF005 - TorchScript
        pooled: list[Tensor] = []
        if len(stem) > 0:
            pooled.append(regions.float().mean(dim=[2, 3]))
        for layer in self.tail:
            feature_map = layer(feature_map)
            pooled.append(feature_map.float().mean(dim=[2, 3]))
        return regions, torch.cat(pooled + statistics, dim=1)


def mean_and_deviation(feature_map: Tensor) -> Tensor:
    """Over positions: [B, C, H, W] -> FP32 [B, 2 C]."""
    deviation, mean = torch.std_mean(feature_map.float(), dim=[2, 3])
    return torch.cat([mean, deviation], dim=1)
