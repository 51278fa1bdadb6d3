"""The heads as Triton serves them: what training does not need is folded away.

Shapes: B images, R = 196 regions, C categories, D = 128.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

from completelook_build.heads.compatibility import CompatibilityHeads
from completelook_build.heads.style import Projection, Standardise, StyleEmbedding


class SceneHead(nn.Module):
    """What Triton serves as `scene_head`: every category's context at once.

    CompatibilityHeads.embed_regions with less to compute: deviations and batch norm are folded into
    the first Linear of g_local and of g_attention, and these two are one. Its layers over the
    regions, nearly all of its arithmetic, are of type `dtype`; the rest is FP32.
    """

    mean: Tensor
    categories: Tensor
    heads_id: Tensor

    def __init__(
        self, heads: CompatibilityHeads, heads_id: int, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.embed_pooled = PooledEmbedding(heads)
        standardise = heads.standardise_regions
        parts = [_without_norm(embedding) for embedding in (heads.g_local, heads.g_attention)]
        self.hidden_size = parts[0].out_features
        self.hidden = _scaled(standardise, _side_by_side(parts)).to(dtype)
        self.local = copy.deepcopy(heads.g_local.layers[-1]).to(dtype)
        self.keys = copy.deepcopy(heads.g_attention.layers[-1]).to(dtype)
        # Subtracted, not folded: a short type would round off what lies about a large mean.
        self.register_buffer("mean", standardise.mean.clone()[:, None, None])  # [channels, 1, 1]
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
        centered = (FEATURE_MAP__0 - self.mean).to(self.hidden.weight.dtype)
        regions = centered.flatten(2).transpose(1, 2).flatten(0, 1)  # [B * R, channels]
        hidden = torch.relu(self.hidden(regions))  # [B * R, 2 * hidden]
        local = functional.normalize(self.local(hidden[:, : self.hidden_size]).float(), dim=1)
        keys = functional.normalize(self.keys(hidden[:, self.hidden_size :]).float(), dim=1)
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
        parts: list[nn.Linear] = [_without_norm(embedding)]
        if embedding.skip is not None:
            parts.append(embedding.skip)
        self.first = _behind(heads.standardise_pooled, _side_by_side(parts), heads.project_pooled)
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


def _side_by_side(linears: Sequence[nn.Linear]) -> nn.Linear:
    """Linear maps of the same features as one."""
    weights = [linear.weight.detach() for linear in linears]
    biases = [
        weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
        for linear, weight in zip(linears, weights, strict=True)
    ]
    return _linear(torch.cat(weights), torch.cat(biases))


def _behind(
    standardise: Standardise, linear: nn.Linear, projection: Projection | None = None
) -> nn.Linear:
    """A linear map of standardised, maybe projected features, as one of the raw ones."""
    if projection is not None:
        linear = _linear(torch.matmul(linear.weight, projection.weight), linear.bias)
    scaled = _scaled(standardise, linear)
    return _linear(scaled.weight, scaled.bias - torch.mv(scaled.weight, standardise.mean))


def _scaled(standardise: Standardise, linear: nn.Linear) -> nn.Linear:
    """A linear map of standardised features, as one of features of mean 0."""
    return _linear(linear.weight / standardise.deviation, linear.bias)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], len(weight))
    linear.weight.data, linear.bias.data = weight.detach(), bias.detach()
    return linear


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
