"""The training side's leaves of the error tree (`completelook.errors`).

CompleteLookError
├── DataError       pairs, categories or pictures are missing or malformed
├── WeightsError    backbone weights cannot be found, downloaded or read
├── ModelError      a model folder is missing or incomplete
├── TrainingError   a checkpoint cannot be used, or the processes cannot work together
└── ExportError     an exported model does not answer as the eager one does
"""

from completelook.errors import CompleteLookError


class DataError(CompleteLookError):
    """Pairs, categories or pictures are missing or malformed."""


class WeightsError(CompleteLookError):
    """Backbone weights cannot be found, downloaded or read."""


class ModelError(CompleteLookError):
    """A model folder is missing or incomplete."""


class TrainingError(CompleteLookError):
    """A checkpoint cannot be used, or the processes cannot work together."""


class ExportError(CompleteLookError):
    """An exported model does not answer as the eager one does."""
