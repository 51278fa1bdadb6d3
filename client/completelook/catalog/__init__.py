"""Catalogs: products and their embeddings, whatever store holds them, and how they are made."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from completelook.catalog.arrow import ArrowCatalog, write_catalog
from completelook.catalog.catalog import Catalog, CatalogInfo, Hits, Product, format_model_id
from completelook.catalog.categories import CategoryTable

if TYPE_CHECKING:
    from completelook.catalog.indexing import (
        Failure,
        IndexReport,
        checkpoint_path,
        failures_path,
        index,
    )
    from completelook.catalog.products import Products, ProductSource, read_products

__all__ = [
    "ArrowCatalog",
    "Catalog",
    "CatalogInfo",
    "CategoryTable",
    "Failure",
    "Hits",
    "IndexReport",
    "Product",
    "ProductSource",
    "Products",
    "checkpoint_path",
    "failures_path",
    "format_model_id",
    "index",
    "read_products",
    "write_catalog",
]

# Reading tables is half of pyarrow's import time, and ranking needs none of it.
_HOMES = {
    "Failure": "indexing",
    "IndexReport": "indexing",
    "ProductSource": "products",
    "Products": "products",
    "checkpoint_path": "indexing",
    "failures_path": "indexing",
    "index": "indexing",
    "read_products": "products",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
