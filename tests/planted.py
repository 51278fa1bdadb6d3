"""Made-up features, pairs in which what fits what is planted: training and export in no time."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from completelook_build.data import Dataset
from completelook_build.features import PairFeatures, Picture
from completelook_build.heads import CompatibilityHeads, HeadsConfig
from PIL import Image
from torch import nn

PRODUCTS, SCENES = 12, 60
REGIONS = 4  # nothing that learns counts them, and 196 take long
CATEGORIES = ("Lamps", "Rugs")


class PlantedFeatures:
    """Random features whose first dimensions say to which of the styles a picture belongs.

    All views of a picture look alike.
    """

    views = 2

    def __init__(self, styles, seed):
        random = torch.Generator().manual_seed(seed)
        count = len(styles)
        self._pooled = torch.rand(count, 2048, generator=random)
        self._regions = torch.rand(count, REGIONS, 1024, generator=random)
        for row, style in enumerate(styles):
            self._pooled[row, 100 * style : 100 * style + 100] += 1.0
        self.broken = np.zeros(count, dtype=bool)

    def pooled(self, rows, _views=None):
        return self._pooled[torch.from_numpy(rows)]

    def regions(self, rows, _views=None):
        return self._regions[torch.from_numpy(rows)]


def plant_pairs(folder):
    """60 scenes and 12 products in 2 categories; what fits looks like another style's scenes."""
    (folder / "images").mkdir()
    products = [f"p{number}" for number in range(PRODUCTS)]
    scenes = [f"s{number}" for number in range(SCENES)]
    for name in (*products, *scenes):
        Image.new("RGB", (4, 4)).save(folder / "images" / f"{name}.jpg")
    style = {name: int(name[1:]) % 3 for name in (*products, *scenes)}
    category = {name: "Rugs" if int(name[1:]) < 6 else "Lamps" for name in products}
    pairs = [{"scene": s, "product": p} for s in scenes for p in products if style[s] == style[p]]
    (folder / "categories.json").write_text(json.dumps(category))
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs))
    data = Dataset.of(folder).read()
    return PairFeatures(
        data,
        PlantedFeatures([style[name] for name in scenes], seed=1),  # type: ignore[arg-type]
        PlantedFeatures([(style[name] + 1) % 3 for name in products], seed=2),  # type: ignore[arg-type]
        {Picture(data.pictures[name]): row for row, name in enumerate(scenes)},
        {name: row for row, name in enumerate(products)},
    )


class SmallBackbone(nn.Module):
    """Any image to features in the range of the planted ones."""

    to_map: torch.Tensor
    to_pooled: torch.Tensor

    def __init__(self, seed=3):
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.register_buffer("to_map", torch.rand(3, 1024, generator=random))
        self.register_buffer("to_pooled", torch.rand(3, 2048, generator=random))
        self.id = seed

    def forward(self, images):
        squares = images.float().unflatten(1, (14, 16)).unflatten(3, (14, 16)).mean(dim=(2, 4))
        squares = squares / 255  # [B, 14, 14, 3]
        feature_map = torch.matmul(squares, self.to_map).permute(0, 3, 1, 2)
        pooled = torch.matmul(squares.mean(dim=(1, 2)), self.to_pooled)
        return feature_map, pooled, torch.full((images.shape[0], 1), self.id)


def set_statistics(heads):
    """Statistics as training leaves them: of the initial 0 and 1 a wrong fold would not show."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in heads.state_dict().items():
            drawn = torch.rand(value.shape, generator=random)
            if name.endswith(("deviation", "running_var", "layers.1.weight")):
                value.copy_(0.5 + drawn)
            elif name.endswith(("mean", "layers.1.bias")):
                value.copy_(drawn - 0.5)


def small_model(seed, *, backbone_seed=None) -> Any:
    """All that an export asks of a trained model, around a backbone that takes no time."""
    torch.manual_seed(seed)
    config = HeadsConfig(categories=("Rugs", "Lamps"))
    heads = CompatibilityHeads(config).eval()
    set_statistics(heads)
    backbone = SmallBackbone(seed if backbone_seed is None else backbone_seed).eval()
    return SimpleNamespace(heads=heads, config=config, heads_id=seed, backbone=lambda _: backbone)
