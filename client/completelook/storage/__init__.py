"""The file of a catalog: Arrow's, sealed, sorted by category and id, read where it is touched."""

from completelook.storage.content import RESERVED, Content, identity, require_embeddings
from completelook.storage.nearest import ROUNDING, nearest_rows
from completelook.storage.writer import changing, check_replaceable, write_file, writing

__all__ = [
    "RESERVED",
    "ROUNDING",
    "Content",
    "changing",
    "check_replaceable",
    "identity",
    "nearest_rows",
    "require_embeddings",
    "write_file",
    "writing",
]
