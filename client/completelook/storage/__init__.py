"""The file of a catalog: Arrow's, sealed, sorted by category and id, read where it is touched."""

from completelook.storage.batch import Embeddings
from completelook.storage.content import (
    RESERVED,
    Content,
    are_unit,
    identity,
    require_embeddings,
)
from completelook.storage.nearest import ROUNDING, largest, nearest_rows, products_with
from completelook.storage.writer import (
    changing,
    check_replaceable,
    write_file,
    writing,
)

__all__ = [
    "RESERVED",
    "ROUNDING",
    "Content",
    "Embeddings",
    "are_unit",
    "changing",
    "check_replaceable",
    "identity",
    "largest",
    "nearest_rows",
    "products_with",
    "require_embeddings",
    "write_file",
    "writing",
]
