"""The heads as Triton serves them: what training does not need is folded away.

Shapes: B images, R = 196 regions, C categories, D = 128.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

from completelook_build.heads.compatibility import CompatibilityHeads
from completelook_build.heads.style import Standardise, StyleEmbedding


class SceneHead(nn.Module):
    """What Triton serves as `scene_head`: every category's context at once.

    CompatibilityHeads.embed_regions with less to compute: standardising and batch norm are folded
    into the first Linear of g_local and of g_attention, and these two are one.
    """

    categories: Tensor
    heads_id: Tensor

    def __init__(self, heads: CompatibilityHeads, heads_id: int) -> None:
        super().__init__()
        self.embed_pooled = nn.Sequential(heads.standardise_pooled, heads.g_global)
        folded = [
            _fold(heads.standardise_regions, embedding)
            for embedding in (heads.g_local, heads.g_attention)
        ]
        self.hidden_size = folded[0].out_features
        self.hidden = nn.Linear(folded[0].in_features, 2 * self.hidden_size)
        self.hidden.weight.data = torch.cat([linear.weight for linear in folded])
        self.hidden.bias.data = torch.cat([linear.bias for linear in folded])
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


def _fold(standardise: Standardise, embedding: StyleEmbedding) -> nn.Linear:
    """Standardising, the first Linear and its batch norm, as they are once trained, in one."""
    linear, norm = embedding.layers[0], embedding.layers[1]
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    fused = fuse_linear_bn_eval(linear, norm)
    fused.weight.data /= standardise.deviation
    fused.bias.data -= torch.mv(fused.weight.data, standardise.mean)
    return fused


class ProductHead(nn.Module):
    """What Triton serves as `product_head`."""

    heads_id: Tensor

    def __init__(self, heads: CompatibilityHeads, heads_id: int) -> None:
        super().__init__()
        self.embed_pooled = nn.Sequential(heads.standardise_pooled, heads.g_global)
        self.register_buffer("heads_id", torch.tensor([heads_id], dtype=torch.int64))

    def forward(
        self,
        POOLED__0: Tensor,  # noqa: N803
        BACKBONE_ID__1: Tensor,  # noqa: N803
    ) -> tuple[Tensor, Tensor]:
        """Pooled [B, pooled_size] -> f_p [B, D] and the model's id [B, 1]."""
        return self.embed_pooled(POOLED__0), torch.bitwise_xor(BACKBONE_ID__1, self.heads_id)
