"""Rank the products of a catalog that complement a scene photo, category by category."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from completelook.errors import (
    CatalogDamaged,
    CatalogError,
    CatalogUnavailable,
    CategoryError,
    CompleteLookError,
    ConditionError,
    ContractError,
    EmbeddedServerError,
    ImageError,
    ModelMismatch,
    NotCalibrated,
    ReceiptError,
    ServerError,
    ServerOverloaded,
    ServerTimeout,
    ServerUnavailable,
    TableError,
    UsageError,
)

if TYPE_CHECKING:
    from completelook.catalog import Catalog, CategoryTable, Condition, IndexReport, index
    from completelook.clients import AsyncCompleteLook, CompleteLook
    from completelook.explain import overlay, write_explanation, write_report
    from completelook.images import ImageSource, PicturePolicy, load_image, open_image
    from completelook.ranking import (
        Calibration,
        Ledger,
        Look,
        Looks,
        Match,
        RankedScene,
        Ranking,
        Receipt,
        Rules,
        Steering,
        Variety,
    )
    from completelook.triton import Credentials, ProductEmbedding, SceneEmbedding

__all__ = [
    "AsyncCompleteLook",
    "Calibration",
    "Catalog",
    "CatalogDamaged",
    "CatalogError",
    "CatalogUnavailable",
    "CategoryError",
    "CategoryTable",
    "CompleteLook",
    "CompleteLookError",
    "Condition",
    "ConditionError",
    "ContractError",
    "Credentials",
    "EmbeddedServerError",
    "ImageError",
    "ImageSource",
    "IndexReport",
    "Ledger",
    "Look",
    "Looks",
    "Match",
    "ModelMismatch",
    "NotCalibrated",
    "PicturePolicy",
    "Product",
    "ProductEmbedding",
    "RankedScene",
    "Ranking",
    "Receipt",
    "ReceiptError",
    "Rules",
    "SceneEmbedding",
    "ServerError",
    "ServerOverloaded",
    "ServerTimeout",
    "ServerUnavailable",
    "Steering",
    "TableError",
    "UsageError",
    "Variety",
    "index",
    "load_image",
    "open_image",
    "overlay",
    "write_explanation",
    "write_report",
]

# gRPC, pyarrow and Pillow take half a second to import: they wait for a name that needs them.
_HOMES = {
    "AsyncCompleteLook": "clients",
    "Calibration": "ranking",
    "Catalog": "catalog",
    "CategoryTable": "catalog",
    "CompleteLook": "clients",
    "Credentials": "triton",
    "Condition": "catalog",
    "ImageSource": "images",
    "IndexReport": "catalog",
    "Ledger": "ranking",
    "Look": "ranking",
    "Looks": "ranking",
    "Match": "ranking",
    "PicturePolicy": "images",
    "Product": "products",
    "ProductEmbedding": "triton",
    "RankedScene": "ranking",
    "Ranking": "ranking",
    "Receipt": "ranking",
    "Rules": "ranking",
    "SceneEmbedding": "triton",
    "Steering": "ranking",
    "Variety": "ranking",
    "index": "catalog",
    "load_image": "images",
    "open_image": "images",
    "overlay": "explain",
    "write_explanation": "explain",
    "write_report": "explain",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
