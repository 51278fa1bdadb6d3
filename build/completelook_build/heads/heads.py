"""The Complete the Look heads: what is learned on top of the frozen backbone (paper section 3).

Shapes: B scenes, P products, R = 196 regions, C categories, D = 128.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from completelook.contract import EMBEDDING_SIZE, FEATURE_MAP_CHANNELS, POOLED_SIZE
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_linear_bn_eval

# The paper's model, and what is left of it without one of its parts.
Form = Literal["full", "global_only", "local_only", "uniform_attention", "no_category"]


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """The form of the heads.

    `form` is "full" for the paper's; the others are ablations, to be compared and not served:
    d_global or d_local alone, every region weighing the same, and one embedding that all categories
    share, so that they look at the same regions.
    `attention_scale` is None for the paper's softmax of -||t - e||^2; a number makes its logits
    learnable in scale, starting there: unit vectors bound the plain logits to [-4, 0], which cannot
    single out a small region.
    """

    categories: tuple[str, ...]
    global_hidden_size: int = 256
    local_hidden_size: int = 128
    dropout: float = 0.5
    attention_scale: float | None = None
    form: Form = "full"

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"form {self.form!r}: expected one of {', '.join(get_args(Form))}")


class Standardise(nn.Module):
    """Each dimension to mean 0 and deviation 1, by the statistics of the training features."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take the statistics from training features [N, size]."""
        deviation, mean = torch.std_mean(features, dim=0)
        self.mean.copy_(mean)
        # A dimension that never moves would otherwise be blown up beyond bounds.
        self.deviation.copy_(deviation.clamp_min(1e-4 * deviation.max()))

    def forward(self, features: Tensor) -> Tensor:
        """[..., size] -> [..., size]."""
        return (features - self.mean) / self.deviation


class Dropout(nn.Module):
    """Dropout with one random byte per value: torch's own takes a fifth of the training on CPU."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped = round(256 * probability)  # of 256
        self.keep_scale = 256 / (256 - self.dropped)

    def forward(self, features: Tensor) -> Tensor:
        """[N, size] -> the same, some values 0 and the others scaled up, in training alone."""
        if not self.training:
            return features
        words = (features.numel() + 3) // 4
        random = torch.randint(
            -(1 << 31), 1 << 31, [words], dtype=torch.int32, device=features.device
        )
        drawn = random.view(torch.uint8)[: features.numel()].view(features.shape)
        return features * ((drawn >= self.dropped).to(features.dtype) * self.keep_scale)


class StyleEmbedding(nn.Module):
    """The paper's g: Linear - BatchNorm - ReLU - Dropout - Linear - L2 normalisation."""

    def __init__(self, input_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.BatchNorm1d(hidden_size),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(hidden_size, EMBEDDING_SIZE),
        )

    def forward(self, features: Tensor) -> Tensor:
        """[N, input_size] -> unit vectors [N, D]."""
        return self._from_hidden(self.layers[0](features))

    def of_raw(self, features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """The same of (features - mean) / deviation, which goes into the first Linear's weights.

        Region features are large: a standardised copy of them costs a tenth of the training.
        """
        weight: Tensor = self.layers[0].weight  # type: ignore[assignment]
        bias: Tensor = self.layers[0].bias  # type: ignore[assignment]
        folded = weight / deviation  # [hidden_size, input_size]
        hidden = functional.linear(features, folded, bias - torch.mv(folded, mean))
        return self._from_hidden(hidden)

    def _from_hidden(self, hidden: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):  # TorchScript cannot slice
            if number > 0:
                hidden = layer(hidden)
        return functional.normalize(hidden, dim=1)


class CompatibilityHeads(nn.Module):
    """Global and local style and category-guided attention (paper sections 3.2 to 3.4)."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        hidden, dropout = config.local_hidden_size, config.dropout
        self.standardise_pooled = Standardise(POOLED_SIZE)
        self.standardise_regions = Standardise(FEATURE_MAP_CHANNELS)
        self.g_global = StyleEmbedding(POOLED_SIZE, config.global_hidden_size, dropout)
        self.g_local = StyleEmbedding(FEATURE_MAP_CHANNELS, hidden, dropout)
        self.g_attention = StyleEmbedding(FEATURE_MAP_CHANNELS, hidden, dropout)
        self.form = str(config.form)  # TorchScript knows no Literal
        self.category_count = len(config.categories)
        embeddings = 1 if config.form == "no_category" else self.category_count
        self.category_embedding = nn.Parameter(torch.randn(embeddings, EMBEDDING_SIZE))
        scale = torch.tensor(1.0 if config.attention_scale is None else config.attention_scale)
        self.attention_log_scale = nn.Parameter(
            scale.log(), requires_grad=config.attention_scale is not None
        )

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """Pooled vectors of scenes or products [N, 2048] -> f_s or f_p [N, D]."""
        embeddings: Tensor = self.g_global(self.standardise_pooled(pooled))
        return embeddings

    def embed_regions(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Region features [B, R, 1024] -> attention [B, C, R] and f_i [B, R, D]."""
        batch, count, _ = regions.shape
        flat = regions.flatten(0, 1)  # [B * R, 1024]
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
        """sum_i a_i f_i for one category a scene: [B, R, 1024] and rows [B] -> [B, D]."""
        if self.form == "global_only":
            # Never looked at, and the slow part of training.
            return regions.new_zeros(regions.shape[0], self.category_embedding.shape[1])
        attention, local = self.embed_regions(regions)
        own_attention = attention[torch.arange(attention.shape[0]), categories]  # [B, R]
        return torch.matmul(own_attention.unsqueeze(1), local).squeeze(1)

    def query(self, scene: Tensor, context: Tensor) -> Tensor:
        """q_c of d = 2 - q_c . f_p: from f_s and sum_i a_i f_i, both [B, D], to [B, D]."""
        if self.form == "global_only":
            return 2.0 * scene  # d_global = 2 - 2 f_s . f_p
        if self.form == "local_only":
            return 2.0 * context  # d_local likewise
        return scene + context

    def forward(
        self, pooled: Tensor, regions: Tensor, categories: Tensor, products: Tensor
    ) -> Tensor:
        """The distance d(s, p) of each scene to its own products.

        Scenes pooled [B, 2048], their regions [B, R, 1024], a category row for each [B], and
        products pooled [B, P, 2048] of that category -> [B, P] in [0, 4].
        """
        batch = pooled.shape[0]
        # Scenes and products share g_global's batch norm, so they go through it in one pass:
        # apart, the running statistics would fit neither.
        together = torch.cat([pooled, products.flatten(0, 1)])  # [B + B * P, 2048]
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
        self.hidden = nn.Linear(FEATURE_MAP_CHANNELS, 2 * self.hidden_size)
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
        """Map [B, 1024, 14, 14], pooled [B, 2048] -> f_s, contexts, id, attention, regions."""
        batch, _, height, width = FEATURE_MAP__0.shape
        regions = FEATURE_MAP__0.flatten(2).transpose(1, 2).flatten(0, 1)  # [B * R, 1024]
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
        """Pooled [B, 2048] -> f_p [B, D] and the model's id [B, 1]."""
        return self.embed_pooled(POOLED__0), torch.bitwise_xor(BACKBONE_ID__1, self.heads_id)
