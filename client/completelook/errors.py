"""Every error a user can cause, as one tree.

CompleteLookError
├── UsageError              an argument makes no sense, such as an address without a port
├── ImageError              a picture cannot be read
├── CategoryError           a category is unknown or ambiguous
├── ConditionError          a condition on products names no column, or compares what cannot be
├── TableError              a table of products is missing, empty or malformed
├── ReceiptError            a receipt cannot be read
├── CatalogError            a catalog file is missing or not a catalog
│   ├── CatalogDamaged      a catalog file is not as it was written
│   ├── CatalogUnavailable  the server that holds a catalog does not answer
│   └── ModelMismatch       a catalog was made by other weights than the server's
├── ServerError             the server answered with a failure
│   ├── ServerUnavailable   nothing answers, a part of it has died, or it is not Triton's gRPC
│   ├── ServerOverloaded    the server refused the request under load
│   ├── ServerTimeout       the server did not answer in the time allowed
│   ├── ContractError       the server's models are not the ones this client speaks to
│   └── NotCalibrated       a compatibility is asked of a model that has none
└── EmbeddedServerError     the embedded server cannot start or has died

The training side adds its own leaves in `completelook_build.errors`. A message names the bad value,
what was expected, and the way out; the command line prints it as one line and exits with 1, or
with 2 for a UsageError.
"""

import sys
from typing import NoReturn


class CompleteLookError(Exception):
    """The base of every error this package raises on purpose."""


class UsageError(CompleteLookError, ValueError):
    """An argument makes no sense, whatever the server and the files say."""


class ImageError(CompleteLookError):
    """A picture cannot be read."""


class CategoryError(CompleteLookError):
    """A category is unknown or ambiguous."""


class ConditionError(CompleteLookError, ValueError):
    """A condition on products names no column, or compares what cannot be compared."""


class TableError(CompleteLookError):
    """A table of products is missing, empty or malformed."""


class ReceiptError(CompleteLookError):
    """A receipt cannot be read."""


class CatalogError(CompleteLookError):
    """A catalog file is missing or not a catalog."""


class CatalogDamaged(CatalogError):
    """A catalog file is not as it was written."""


class CatalogUnavailable(CatalogError):
    """The server that holds a catalog does not answer."""


class ModelMismatch(CatalogError):
    """A catalog was made by other weights than the server's."""


class ServerError(CompleteLookError):
    """The server answered with a failure."""

    # Whether the same call may well succeed in a moment.
    passes = False


class ServerUnavailable(ServerError):
    """Nothing answers, a part of the server has died, or what answers is not Triton's gRPC."""


class ServerOverloaded(ServerError):
    """The server refused the request under load."""


class ServerTimeout(ServerError):
    """The server did not answer in the time allowed."""


class ContractError(ServerError):
    """The server's models are not the ones this client speaks to."""


class NotCalibrated(ServerError):
    """A compatibility is asked of a model that has none."""


class EmbeddedServerError(CompleteLookError):
    """The embedded server cannot start or has died."""


def exit_with(error: Exception) -> NoReturn:
    """End a command line: one line on stderr, exit code 1, or 2 for a UsageError."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(2 if isinstance(error, UsageError) else 1)
