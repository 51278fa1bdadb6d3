"""The Triton contract: the names, types and shapes that client, export and server share.

Shapes leave out the batch dimension, as Triton's configurations do; -1 stands for what follows from
the model: its number of categories, and between backbone and heads the backbone's own sizes, which
no client sees.
"""

from dataclasses import dataclass

IMAGE_SIZE = 224
EMBEDDING_SIZE = 128
REGION_GRID = 14
REGIONS = REGION_GRID * REGION_GRID

# What a picture goes through before the backbone; a part of the model's id, so that embeddings made
# by another preprocessing are never mixed.
PREPROCESSING = "upright-rgb8-squash224-1"

# Between the parts of a category's path: `Home & Garden|Decor|Rugs`.
CATEGORY_SEPARATOR = "|"

# The ensembles' config parameter that holds the ordered category names, as a JSON list.
CATEGORIES_PARAMETER = "categories"
# Beside it where the model is calibrated: the knots of its `Calibration`, as a JSON object.
CALIBRATION_PARAMETER = "calibration"
# A TorchScript model's: the multiplications and additions of one picture, for who has to decide how
# many threads it is worth. Backends that do not know it leave it alone.
OPERATIONS_PARAMETER = "OPERATIONS"


@dataclass(frozen=True)
class Tensor:
    """A tensor of the contract, its Triton data type without the `TYPE_` prefix."""

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """A model of the repository and the tensors it takes and gives, in order."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


_IMAGE = (IMAGE_SIZE, IMAGE_SIZE, 3)
_FEATURE_MAP = (-1, REGION_GRID, REGION_GRID)
_CONTEXTS = (-1, EMBEDDING_SIZE)
_ATTENTION = (-1, REGION_GRID, REGION_GRID)
_REGIONS = (REGIONS, EMBEDDING_SIZE)

BACKBONE = Model(
    "backbone",
    (Tensor("IMAGE__0", "UINT8", _IMAGE),),
    (
        Tensor("FEATURE_MAP__0", "FP32", _FEATURE_MAP),
        Tensor("POOLED__1", "FP32", (-1,)),
        Tensor("BACKBONE_ID__2", "INT64", (1,)),
    ),
)
SCENE_HEAD = Model(
    "scene_head",
    (
        Tensor("FEATURE_MAP__0", "FP32", _FEATURE_MAP),
        Tensor("POOLED__1", "FP32", (-1,)),
        Tensor("BACKBONE_ID__2", "INT64", (1,)),
    ),
    (
        Tensor("SCENE_EMBEDDING__0", "FP32", (EMBEDDING_SIZE,)),
        Tensor("CONTEXT_EMBEDDINGS__1", "FP32", _CONTEXTS),
        Tensor("MODEL_ID__2", "INT64", (1,)),
        Tensor("ATTENTION__3", "FP32", _ATTENTION),
        Tensor("REGION_EMBEDDINGS__4", "FP32", _REGIONS),
    ),
)
PRODUCT_HEAD = Model(
    "product_head",
    (
        Tensor("POOLED__0", "FP32", (-1,)),
        Tensor("BACKBONE_ID__1", "INT64", (1,)),
    ),
    (
        Tensor("PRODUCT_EMBEDDING__0", "FP32", (EMBEDDING_SIZE,)),
        Tensor("MODEL_ID__1", "INT64", (1,)),
    ),
)
EMBED_SCENE = Model(
    "embed_scene",
    (Tensor("IMAGE", "UINT8", _IMAGE),),
    (
        Tensor("SCENE_EMBEDDING", "FP32", (EMBEDDING_SIZE,)),
        Tensor("CONTEXT_EMBEDDINGS", "FP32", _CONTEXTS),
        Tensor("MODEL_ID", "INT64", (1,)),
    ),
)
EXPLAIN_SCENE = Model(
    "explain_scene",
    EMBED_SCENE.inputs,
    (
        *EMBED_SCENE.outputs,
        Tensor("ATTENTION", "FP32", _ATTENTION),
        Tensor("REGION_EMBEDDINGS", "FP32", _REGIONS),
    ),
)
EMBED_PRODUCT = Model(
    "embed_product",
    (Tensor("IMAGE", "UINT8", _IMAGE),),
    (
        Tensor("PRODUCT_EMBEDDING", "FP32", (EMBEDDING_SIZE,)),
        Tensor("MODEL_ID", "INT64", (1,)),
    ),
)

# What the ensembles' steps run, whatever form the export gave them.
STEPS = (BACKBONE, SCENE_HEAD, PRODUCT_HEAD)
ENSEMBLES = (EMBED_SCENE, EXPLAIN_SCENE, EMBED_PRODUCT)
