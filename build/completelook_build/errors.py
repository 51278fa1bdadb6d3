"""The training side's leaves of the error tree (`completelook.errors`).

CompleteLookError
├── DataError       pairs, categories or pictures are missing or malformed
├── WeightsError    backbone weights cannot be found, downloaded or read
├── ModelError      a model folder is missing or incomplete, or what it answers is not finite
├── TrainingError   not finite, a checkpoint of no use, or processes that cannot work together
└── ExportError     an exported model does not answer as the eager one does
"""

from completelook.errors import CompleteLookError


class DataError(CompleteLookError):
    """Pairs, categories or pictures are missing or malformed."""


class WeightsError(CompleteLookError):
    """Backbone weights cannot be found, downloaded or read."""


class ModelError(CompleteLookError):
    """A model folder is missing or incomplete, or what its model answers is not finite."""


class TrainingError(CompleteLookError):
    """A loss or weight is not finite, a checkpoint or several processes cannot be used."""


class ExportError(CompleteLookError):
    """An exported model does not answer as the eager one does."""
