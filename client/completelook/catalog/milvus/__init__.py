"""Catalogs in Milvus: the store, where one is, and indexing into one."""

from completelook.catalog.milvus.accuracy import recall
from completelook.catalog.milvus.address import is_milvus, parse_address
from completelook.catalog.milvus.filters import filter_of
from completelook.catalog.milvus.store import MilvusCatalog
from completelook.catalog.milvus.target import MilvusTarget

__all__ = ["MilvusCatalog", "MilvusTarget", "filter_of", "is_milvus", "parse_address", "recall"]
