"""A shop of made-up products: unit vectors without pictures, in categories of one size."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from completelook import SceneEmbedding
from numpy.typing import NDArray

CATEGORIES = tuple(f"Home|Category {number:02d}" for number in range(20))
MODEL_ID = 1
_REGIONS = 196


def unit_vectors(generator: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Random directions, [count, 128]."""
    vectors: NDArray[np.float32] = generator.standard_normal((count, 128), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def products(count: int) -> pa.Table:
    """Products in the order a shop has them, by no category, with a few columns."""
    numbers = np.arange(count)
    digits: Any = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 8, "0")

    def texts(before: str, after: str) -> Any:
        return pc.binary_join_element_wise(before, digits, after, "")

    return pa.table(
        {
            "id": texts("sku-", ""),
            "image": texts("https://shop.example/pictures/", ".jpg"),
            "category": pa.array(CATEGORIES).take(pa.array(numbers % len(CATEGORIES))),
            "title": texts("Product ", " of the shop"),
            "price": np.round(numbers * 7919 % 100_000 / 100, 2),
        }
    )


def scenes(count: int) -> list[SceneEmbedding]:
    """Scenes as the model would embed them, with their regions and attention."""
    generator = np.random.default_rng(7)
    made = []
    for _ in range(count):
        regions = unit_vectors(generator, _REGIONS)  # [196, 128]
        weights = np.exp(3 * generator.standard_normal((len(CATEGORIES), _REGIONS), np.float32))
        attention = weights / weights.sum(axis=1, keepdims=True)  # [C, 196]
        made.append(
            SceneEmbedding(
                embedding=unit_vectors(generator, 1)[0],
                contexts=attention @ regions,  # [C, 128]
                model_id=MODEL_ID,
                attention=attention.reshape(len(CATEGORIES), 14, 14),
                regions=regions,
            )
        )
    return made
