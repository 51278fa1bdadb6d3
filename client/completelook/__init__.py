"""Rank the products of a catalog that complement a scene photo, category by category."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from completelook._errors import (
    CatalogError,
    CategoryError,
    CompleteLookError,
    ContractError,
    EmbeddedServerError,
    ImageError,
    ModelMismatch,
    NotCalibrated,
    ServerError,
    ServerOverloaded,
    ServerUnavailable,
    TableError,
)

if TYPE_CHECKING:
    from completelook._async_client import AsyncCompleteLook
    from completelook._catalog import Catalog
    from completelook._client import CompleteLook
    from completelook._embeddings import ProductEmbedding, SceneEmbedding
    from completelook._images import ImageSource, load_image, open_image
    from completelook._indexing import IndexReport, index
    from completelook._ranking import Match, RankedScene

__all__ = [
    "AsyncCompleteLook",
    "Catalog",
    "CatalogError",
    "CategoryError",
    "CompleteLook",
    "CompleteLookError",
    "ContractError",
    "EmbeddedServerError",
    "ImageError",
    "ImageSource",
    "IndexReport",
    "Match",
    "ModelMismatch",
    "NotCalibrated",
    "ProductEmbedding",
    "RankedScene",
    "SceneEmbedding",
    "ServerError",
    "ServerOverloaded",
    "ServerUnavailable",
    "TableError",
    "index",
    "load_image",
    "open_image",
]

# gRPC, pyarrow and Pillow take half a second to import: they wait for a name that needs them.
_HOMES = {
    "AsyncCompleteLook": "_async_client",
    "Catalog": "_catalog",
    "CompleteLook": "_client",
    "ImageSource": "_images",
    "IndexReport": "_indexing",
    "Match": "_ranking",
    "ProductEmbedding": "_embeddings",
    "RankedScene": "_ranking",
    "SceneEmbedding": "_embeddings",
    "index": "_indexing",
    "load_image": "_images",
    "open_image": "_images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
