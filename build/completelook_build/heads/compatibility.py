"""The Complete the Look heads: what is learned on top of the frozen backbone (paper section 3).

Shapes: B scenes, P products, R = 196 regions, C categories, D = 128.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from completelook.contract import EMBEDDING_SIZE
from torch import Tensor, nn
from torch.nn import functional

from completelook_build.heads.style import Projection, Standardise, StyleEmbedding

# The paper's model, and what is left of it without one of its parts.
Form = Literal["full", "global_only", "local_only", "uniform_attention", "no_category"]


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """The form of the heads.

    `channels` of a region and `pooled_size` are the backbone's; the defaults are the paper's.
    `form` is "full" for the paper's; the others are ablations, to be compared and not served:
    d_global or d_local alone, every region weighing the same, and one embedding that all categories
    share, so that they look at the same regions.
    `attention_scale` is None for the paper's softmax of -||t - e||^2; a number makes its logits
    learnable in scale, starting there: unit vectors bound the plain logits to [-4, 0], which cannot
    single out a small region.
    For few scenes, `projected_size` puts the pooled vector's principal components in its place, and
    `global_skip` a linear map beside the layers of g_global.
    """

    categories: tuple[str, ...]
    channels: int = 1024
    pooled_size: int = 2048
    global_hidden_size: int = 256
    local_hidden_size: int = 128
    dropout: float = 0.5
    attention_scale: float | None = None
    form: Form = "full"
    projected_size: int | None = None
    global_skip: bool = False

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"form {self.form!r}: expected one of {', '.join(get_args(Form))}")
        scale = self.attention_scale
        # What is learned is the scale's logarithm, in single precision.
        if scale is not None and not torch.tensor(scale).log().isfinite():
            raise ValueError(f"attention scale {scale}: expected a finite number above 0")


class CompatibilityHeads(nn.Module):
    """Global and local style and category-guided attention (paper sections 3.2 to 3.4)."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        hidden, dropout = config.local_hidden_size, config.dropout
        self.standardise_pooled = Standardise(config.pooled_size)
        self.standardise_regions = Standardise(config.channels)
        self.project_pooled = (
            None
            if config.projected_size is None
            else Projection(config.pooled_size, config.projected_size)
        )
        self.g_global = StyleEmbedding(
            config.projected_size or config.pooled_size,
            config.global_hidden_size,
            dropout,
            skip=config.global_skip,
        )
        self.g_local = StyleEmbedding(config.channels, hidden, dropout)
        self.g_attention = StyleEmbedding(config.channels, hidden, dropout)
        self.form = str(config.form)  # TorchScript knows no Literal
        self.category_count = len(config.categories)
        embeddings = 1 if config.form == "no_category" else self.category_count
        self.category_embedding = nn.Parameter(torch.randn(embeddings, EMBEDDING_SIZE))
        scale = torch.tensor(1.0 if config.attention_scale is None else config.attention_scale)
        self.attention_log_scale = nn.Parameter(
            scale.log(), requires_grad=config.attention_scale is not None
        )

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """Pooled vectors of scenes or products [N, pooled_size] -> f_s or f_p [N, D]."""
        embeddings: Tensor = self.g_global(self.pooled_features(pooled))
        return embeddings

    def pooled_features(self, pooled: Tensor) -> Tensor:
        """What g_global takes of pooled vectors [N, pooled_size]: standardised, maybe projected."""
        features: Tensor = self.standardise_pooled(pooled)
        return features if self.project_pooled is None else self.project_pooled(features)

    def embed_regions(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Region features [B, R, channels] -> attention [B, C, R] and f_i [B, R, D]."""
        batch, count, _ = regions.shape
        flat = regions.flatten(0, 1)  # [B * R, channels]
        mean, deviation = self.standardise_regions.mean, self.standardise_regions.deviation
        local = self.g_local.of_raw(flat, mean, deviation).reshape(batch, count, -1)  # [B, R, D]
        keys = self.g_attention.of_raw(flat, mean, deviation).reshape(batch, count, -1)  # [B, R, D]
        categories = functional.normalize(self.category_embedding, dim=1)  # [C, D] or [1, D]
        categories = categories.expand(self.category_count, -1)  # [C, D]
        # Both are unit vectors: ||t - e||^2 = 2 - 2 t.e
        squared_distance = 2.0 - 2.0 * torch.matmul(keys, categories.t())  # [B, R, C]
        logits = -self.attention_log_scale.exp() * squared_distance
        if self.form == "uniform_attention":
            logits = torch.zeros_like(logits)
        attention = torch.softmax(logits.transpose(1, 2), dim=2)  # [B, C, R], over regions
        return attention, local

    def embed_context(self, regions: Tensor, categories: Tensor) -> Tensor:
        """sum_i a_i f_i for one category a scene: [B, R, channels] and rows [B] -> [B, D]."""
        if self.form == "global_only":
            # Never looked at, and the slow part of training.
            return regions.new_zeros(regions.shape[0], self.category_embedding.shape[1])
        attention, local = self.embed_regions(regions)
        own_attention = attention[torch.arange(attention.shape[0]), categories]  # [B, R]
        return torch.matmul(own_attention.unsqueeze(1), local).squeeze(1)

    def queries(self, scene: Tensor, regions: Tensor) -> Tensor:
        """q_c of every category: f_s [B, D] and region features [B, R, channels] -> [B, C, D]."""
        scenes = scene.unsqueeze(1).expand(-1, self.category_count, -1)  # [B, C, D]
        if self.form == "global_only":
            return 2.0 * scenes
        attention, local = self.embed_regions(regions)
        return self.query(scenes, torch.matmul(attention, local))

    def query(self, scene: Tensor, context: Tensor) -> Tensor:
        """q_c of d = 2 - q_c . f_p: from f_s and sum_i a_i f_i, both [..., D], to [..., D]."""
        if self.form == "global_only":
            return 2.0 * scene  # d_global = 2 - 2 f_s . f_p
        if self.form == "local_only":
            return 2.0 * context  # d_local likewise
        return scene + context

    def forward(
        self, pooled: Tensor, regions: Tensor, categories: Tensor, products: Tensor
    ) -> Tensor:
        """The distance d(s, p) of each scene to its own products.

        Scenes pooled [B, pooled_size], their regions [B, R, channels], a category row for each
        [B], and products pooled [B, P, pooled_size] of that category -> [B, P] in [0, 4].
        """
        batch = pooled.shape[0]
        # Scenes and products share g_global's batch norm, so they go through it in one pass:
        # apart, the running statistics would fit neither.
        together = torch.cat([pooled, products.flatten(0, 1)])  # [B + B * P, pooled_size]
        styles = self.embed_pooled(together)  # [B + B * P, D]
        scene_embedding = styles[:batch]  # [B, D]
        product_embeddings = styles[batch:].unflatten(0, products.shape[:2])  # [B, P, D]
        context = self.embed_context(regions, categories)  # [B, D]
        return distances(self.query(scene_embedding, context), product_embeddings)


def distances(query: Tensor, products: Tensor) -> Tensor:
    """The paper's d = (d_global + d_local) / 2, collapsed to one inner product.

    Queries f_s + sum_i a_i f_i [B, D], products [B, P, D] -> [B, P]. Exact, since every f is a unit
    vector and the attention sums to one (docs/model.md).
    """
    return 2.0 - torch.matmul(products, query.unsqueeze(2)).squeeze(2)


def name_of_not_finite(module: nn.Module) -> str | None:
    """The first weight or statistic that holds NaN or infinity, None where all are numbers."""
    for name, value in module.state_dict().items():
        if not value.isfinite().all():
            return name
    return None
