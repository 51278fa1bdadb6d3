"""The heads as Triton serves them: what training does not need is folded away.

Shapes: B images, R = 196 regions, C categories, D = 128.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

from completelook_build.heads.compatibility import CompatibilityHeads
from completelook_build.heads.style import Projection, Standardise, StyleEmbedding


class SceneHead(nn.Module):
    """What Triton serves as `scene_head`: every category's context at once.

    CompatibilityHeads.embed_regions with less to compute: standardising and batch norm are folded
    into the first Linear of g_local and of g_attention, and these two are one.
    """

    categories: Tensor
    heads_id: Tensor

    def __init__(self, heads: CompatibilityHeads, heads_id: int) -> None:
        super().__init__()
        self.embed_pooled = PooledEmbedding(heads)
        parts = [_without_norm(embedding) for embedding in (heads.g_local, heads.g_attention)]
        self.hidden_size = parts[0].out_features
        self.hidden = _behind(heads.standardise_regions, parts)
        self.local = heads.g_local.layers[-1]
        self.keys = heads.g_attention.layers[-1]
        categories = functional.normalize(heads.category_embedding, dim=1)  # [C, D]
        # Of -scale ||t - e||^2 = 2 scale t.e - 2 scale, the softmax does not see the constant.
        logits = 2.0 * heads.attention_log_scale.exp() * categories.expand(heads.category_count, -1)
        self.register_buffer("categories", logits.detach().t().contiguous())  # [D, C]
        self.register_buffer("heads_id", torch.tensor([heads_id], dtype=torch.int64))

    def forward(
        self,
        FEATURE_MAP__0: Tensor,  # noqa: N803 - libtorch names inputs by argument
        POOLED__1: Tensor,  # noqa: N803
        BACKBONE_ID__2: Tensor,  # noqa: N803
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Map [B, channels, 14, 14] and pooled [B, pooled_size] -> as the contract has them."""
        batch, _, height, width = FEATURE_MAP__0.shape
        regions = FEATURE_MAP__0.flatten(2).transpose(1, 2).flatten(0, 1)  # [B * R, channels]
        hidden = torch.relu(self.hidden(regions))  # [B * R, 2 * hidden]
        local = functional.normalize(self.local(hidden[:, : self.hidden_size]), dim=1)
        keys = functional.normalize(self.keys(hidden[:, self.hidden_size :]), dim=1)  # [B * R, D]
        logits = torch.matmul(keys, self.categories).unflatten(0, [batch, height * width])
        attention = torch.softmax(logits.transpose(1, 2), dim=2)  # [B, C, R], over regions
        local = local.unflatten(0, [batch, height * width])  # [B, R, D]
        contexts = torch.matmul(attention, local)  # [B, C, D]
        scene_embedding = self.embed_pooled(POOLED__1)  # [B, D]
        grid = attention.unflatten(2, [height, width])  # [B, C, 14, 14]
        model_id = torch.bitwise_xor(BACKBONE_ID__2, self.heads_id)  # [B, 1]
        return scene_embedding, contexts, model_id, grid, local


class PooledEmbedding(nn.Module):
    """CompatibilityHeads.embed_pooled with all that is linear before a ReLU in one Linear."""

    def __init__(self, heads: CompatibilityHeads) -> None:
        super().__init__()
        embedding = heads.g_global
        self.hidden_size = embedding.layers[0].out_features
        parts = [_without_norm(embedding)]
        if embedding.skip is not None:
            parts.append(embedding.skip)
        self.first = _behind(heads.standardise_pooled, parts, heads.project_pooled)
        self.last = embedding.layers[-1]
        self.has_skip = embedding.skip is not None

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, pooled_size] -> unit vectors [B, D]."""
        first = self.first(pooled)  # [B, hidden], and with skip [B, hidden + D]
        embeddings = self.last(torch.relu(first[:, : self.hidden_size]))
        if self.has_skip:
            embeddings = embeddings + first[:, self.hidden_size :]
        return functional.normalize(embeddings, dim=1)


def _without_norm(embedding: StyleEmbedding) -> nn.Linear:
    """The first Linear and its batch norm, as they are once trained, in one."""
    linear, norm = embedding.layers[0], embedding.layers[1]
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    return fuse_linear_bn_eval(linear, norm)


def _behind(
    standardise: Standardise, linears: Sequence[nn.Linear], projection: Projection | None = None
) -> nn.Linear:
    """Linear maps of the same standardised, maybe projected features, as one of the raw ones."""
    weight = torch.cat([linear.weight.detach() for linear in linears])
    bias = torch.cat(
        [
            weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
            for linear in linears
        ]
    )
    if projection is not None:
        weight = torch.matmul(weight, projection.weight)
    weight = weight / standardise.deviation
    folded = nn.Linear(weight.shape[1], len(weight))
    folded.weight.data = weight
    folded.bias.data = bias - torch.mv(weight, standardise.mean)
    return folded


class ProductHead(nn.Module):
    """What Triton serves as `product_head`."""

    heads_id: Tensor

    def __init__(self, heads: CompatibilityHeads, heads_id: int) -> None:
        super().__init__()
        self.embed_pooled = PooledEmbedding(heads)
        self.register_buffer("heads_id", torch.tensor([heads_id], dtype=torch.int64))

    def forward(
        self,
        POOLED__0: Tensor,  # noqa: N803
        BACKBONE_ID__1: Tensor,  # noqa: N803
    ) -> tuple[Tensor, Tensor]:
        """Pooled [B, pooled_size] -> f_p [B, D] and the model's id [B, 1]."""
        return self.embed_pooled(POOLED__0), torch.bitwise_xor(BACKBONE_ID__1, self.heads_id)
