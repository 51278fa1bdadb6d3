"""Options that several commands share."""

from completelook.cli.options.common import (
    DEFAULT_MODEL_REPOSITORY,
    EXIT_SKIPPED,
    Columns,
    ModelRepository,
    OnError,
    Where,
    from_0_to_1,
    parse_columns,
    parse_where,
)
from completelook.cli.options.groups import Server, asks_a_server, reads_pictures, steers

__all__ = [
    "DEFAULT_MODEL_REPOSITORY",
    "EXIT_SKIPPED",
    "Columns",
    "ModelRepository",
    "OnError",
    "Server",
    "Where",
    "asks_a_server",
    "from_0_to_1",
    "parse_columns",
    "parse_where",
    "reads_pictures",
    "steers",
]
