"""Embeddings: what the model says of a scene and of a product."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


# Arrays have no one truth value, so two embeddings compare by identity.
@dataclass(frozen=True, eq=False)
class SceneEmbedding:
    """A scene in the style space, and what it asks for in each of the model's C categories."""

    embedding: NDArray[np.float32]  # [128], unit length
    contexts: NDArray[
        np.float32
    ]  # [C, 128], the regions' mean weighted by each category's attention
    model_id: int
    attention: NDArray[np.float32] | None = None  # [C, 14, 14], each category's map sums to 1
    regions: NDArray[np.float32] | None = None  # [196, 128], unit length


@dataclass(frozen=True, eq=False)
class ProductEmbedding:
    """A product in the style space."""

    embedding: NDArray[np.float32]  # [128], unit length
    model_id: int
