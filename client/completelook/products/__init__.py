"""A shop's products as they come: tables, feeds and folders, every row accounted for."""

from completelook.products.delimited import read_cells
from completelook.products.products import Products, ProductSource, read_products
from completelook.products.readings import (
    Amount,
    aligned,
    read_amount,
    read_moment,
    read_truth,
)
from completelook.products.records import Product, Skip, as_json
from completelook.products.tables import changed, only, order_of, taken

__all__ = [
    "Amount",
    "Product",
    "ProductSource",
    "Products",
    "Skip",
    "aligned",
    "as_json",
    "changed",
    "only",
    "order_of",
    "read_amount",
    "read_cells",
    "read_moment",
    "read_products",
    "read_truth",
    "taken",
]
