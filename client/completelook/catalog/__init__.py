"""Catalogs: products and their embeddings, whatever store holds them, and how they are made."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from completelook.catalog.arrow import ArrowCatalog, write_catalog
from completelook.catalog.catalog import (
    Catalog,
    CatalogInfo,
    Hits,
    Survey,
    format_model_id,
    name_column,
)
from completelook.catalog.categories import CategoryTable
from completelook.catalog.conditions import (
    Comparison,
    Condition,
    Filter,
    Kind,
    Where,
    conditions_only,
    is_missing,
    parse_condition,
)
from completelook.catalog.shards import WHOLE, Shard, parse_shard

if TYPE_CHECKING:
    from completelook.catalog.category_map import draft_category_map
    from completelook.catalog.indexing import (
        IndexReport,
        failures_path,
        index,
        ledger_path,
    )
    from completelook.catalog.maintenance import Description, describe, export, merge
    from completelook.catalog.shipment import Shipment, in_shard, prepare

__all__ = [
    "WHOLE",
    "ArrowCatalog",
    "Catalog",
    "CatalogInfo",
    "CategoryTable",
    "Comparison",
    "Condition",
    "Description",
    "Filter",
    "Hits",
    "IndexReport",
    "Kind",
    "Shard",
    "Shipment",
    "Survey",
    "Where",
    "conditions_only",
    "describe",
    "draft_category_map",
    "export",
    "failures_path",
    "format_model_id",
    "in_shard",
    "index",
    "is_missing",
    "ledger_path",
    "merge",
    "name_column",
    "parse_condition",
    "parse_shard",
    "prepare",
    "write_catalog",
]

# Reading tables is half of pyarrow's import time, and ranking needs none of it.
_HOMES = {
    "Description": "maintenance",
    "describe": "maintenance",
    "export": "maintenance",
    "merge": "maintenance",
    "Shipment": "shipment",
    "draft_category_map": "category_map",
    "ledger_path": "indexing",
    "in_shard": "shipment",
    "prepare": "shipment",
    "IndexReport": "indexing",
    "failures_path": "indexing",
    "index": "indexing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
