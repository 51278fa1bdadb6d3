"""Embeddings: what the model says of a scene and of a product."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


# Arrays have no one truth value, so two embeddings compare by identity.
@dataclass(frozen=True, eq=False)
class SceneEmbedding:
    """A scene in the style space, and what it asks for in each of the model's C categories."""

    embedding: NDArray[np.float32]  # [128], unit length
    contexts: NDArray[np.float32]  # [C, 128], the regions' mean by each category's attention
    model_id: int
    attention: NDArray[np.float32] | None = None  # [C, 14, 14], each category's map sums to 1
    regions: NDArray[np.float32] | None = None  # [196, 128], unit length
    picture: str | None = None  # the digest of the tensor that it was made of

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, NDArray[Any]], picture: str | None = None) -> Self:
        """A scene from the outputs of `embed_scene` or `explain_scene`, by name."""
        return cls(
            embedding=outputs["SCENE_EMBEDDING"],
            contexts=outputs["CONTEXT_EMBEDDINGS"],
            model_id=int(outputs["MODEL_ID"][0]),
            attention=outputs.get("ATTENTION"),
            regions=outputs.get("REGION_EMBEDDINGS"),
            picture=picture,
        )


@dataclass(frozen=True, eq=False)
class ProductEmbedding:
    """A product in the style space."""

    embedding: NDArray[np.float32]  # [128], unit length
    model_id: int

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, NDArray[Any]]) -> Self:
        """A product from the outputs of `embed_product`, by name."""
        return cls(outputs["PRODUCT_EMBEDDING"], int(outputs["MODEL_ID"][0]))
