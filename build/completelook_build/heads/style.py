"""The paper's g, an embedding of features into the style space, and its layers (section 3.2)."""

import torch
from completelook.contract import EMBEDDING_SIZE
from torch import Tensor, nn
from torch.nn import functional

_OVERSAMPLED = 32  # components beyond those that count, so that a random sketch finds these


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


class Projection(nn.Module):
    """Standardised features to their first principal components: fit once, never learned.

    They share one scale, that brings their mean variance to 1: whitened, the directions in which
    pictures hardly differ would weigh as much as those in which they do.
    """

    weight: Tensor

    def __init__(self, size: int, components: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(components, size))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take the components of standardised training features [N, size].

        Where N or size is below their number, the others are left at 0.
        """
        count = min(len(self.weight), *features.shape)
        rank = min(count + _OVERSAMPLED, *features.shape)
        _, singular, axes = torch.svd_lowrank(features, q=rank, niter=3)  # [rank], [size, rank]
        scale = (singular[:count] ** 2 / len(features)).mean().sqrt()
        self.weight.zero_()[:count] = axes[:, :count].t() / scale

    def forward(self, features: Tensor) -> Tensor:
        """[N, size] -> [N, components]."""
        return functional.linear(features, self.weight)


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
    """The paper's g: Linear - BatchNorm - ReLU - Dropout - Linear - L2 normalisation.

    With `skip`, a linear map of the same features is added before the normalisation.
    """

    def __init__(
        self, input_size: int, hidden_size: int, dropout: float, *, skip: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.BatchNorm1d(hidden_size),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(hidden_size, EMBEDDING_SIZE),
        )
        self.skip = nn.Linear(input_size, EMBEDDING_SIZE, bias=False) if skip else None

    def forward(self, features: Tensor) -> Tensor:
        """[N, input_size] -> unit vectors [N, D]."""
        embeddings: Tensor = self.layers(features)
        if self.skip is not None:
            embeddings = embeddings + self.skip(features)
        return functional.normalize(embeddings, dim=1)

    def of_raw(self, features: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """The same of (features - mean) / deviation, which goes into the first Linear's weights.

        For one without `skip`. Region features are large: a standardised copy of them costs a tenth
        of the training.
        """
        weight: Tensor = self.layers[0].weight  # type: ignore[assignment]
        bias: Tensor = self.layers[0].bias  # type: ignore[assignment]
        folded = weight / deviation  # [hidden_size, input_size]
        hidden = functional.linear(features, folded, bias - torch.mv(folded, mean))
        return functional.normalize(self.layers[1:](hidden), dim=1)
