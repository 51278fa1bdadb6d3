"""A shop's products as they come: tables, feeds and folders, every row accounted for."""

from completelook.products.delimited import read_cells
from completelook.products.products import Products, ProductSource, read_products
from completelook.products.records import Product, Skip

__all__ = ["Product", "ProductSource", "Products", "Skip", "read_cells", "read_products"]
