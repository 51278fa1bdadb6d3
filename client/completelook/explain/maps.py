"""Maps of a scene's regions: where the model looked, and what each adds to a product's distance.

All in closed form, since the local distance is a sum over the regions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from completelook.contract import REGION_GRID
from completelook.triton import SceneEmbedding

Products = NDArray[np.floating[Any]]


def attention_map(scene: SceneEmbedding, row: int) -> NDArray[np.float32]:
    """Where the scene's model looked for the category of a row, [14, 14]."""
    if scene.attention is None:
        raise ValueError("the scene has no attention: embed it with regions=True")
    attention: NDArray[np.float32] = scene.attention[row]
    return attention


def contributions(scene: SceneEmbedding, row: int, products: Products) -> NDArray[np.float64]:
    """a_i (2 - 2 f_i . f_p) for the category of a row of the scene's contexts.

    Of a product's embedding [128] a map [14, 14], of those of n products [n, 128] one each,
    [n, 14, 14]. A map adds up to the product's local distance. The scene must be embedded with
    regions; a steered one gives the parts of the distance as it was steered.
    """
    return np.asarray(2 * attention_map(scene, row) - 2 * support(scene, row, products))


def support(scene: SceneEmbedding, row: int, products: Products) -> NDArray[np.float64]:
    """What speaks for products, region by region: a_i f_i . f_p, in the shapes of `contributions`.

    Above 0 where the region is nearer to the product than 2, the squared distance of vectors that
    have nothing to do with each other; below 0 where it speaks against it. A map adds up to
    1 - local distance / 2. It is what to show: a contribution is large wherever the attention is,
    unless the product is near.
    """
    attention = attention_map(scene, row).astype(np.float64)  # [14, 14]
    if scene.regions is None:
        raise ValueError("the scene has no regions: embed it with regions=True")
    likeness = products @ scene.regions.astype(np.float64).T  # [196] or [n, 196]
    maps = likeness.reshape(*products.shape[:-1], REGION_GRID, REGION_GRID)
    return np.asarray(attention * maps)
