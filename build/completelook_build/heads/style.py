"""The paper's g, an embedding of features into the style space, and its layers (section 3.2)."""

import torch
from completelook.contract import EMBEDDING_SIZE
from torch import Tensor, nn
from torch.nn import functional


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
