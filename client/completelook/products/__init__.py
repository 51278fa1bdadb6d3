"""A shop's products as they come: tables, feeds and folders, every row accounted for."""

from completelook.products.delimited import read_cells
from completelook.products.products import Products, ProductSource, read_products
from completelook.products.records import Skip

__all__ = ["ProductSource", "Products", "Skip", "read_cells", "read_products"]
