"""Export: a trained model into Triton's repository, checked against the model that was trained."""

from completelook_build.export.export import VERSION, ExportReport, export_model, run_chain
from completelook_build.export.precision_cost import (
    NOT_MEASURED,
    REFERENCE,
    PrecisionCost,
    measure_cost,
)
from completelook_build.export.triton_config import BATCHING, repository_configs

__all__ = [
    "BATCHING",
    "NOT_MEASURED",
    "REFERENCE",
    "VERSION",
    "ExportReport",
    "PrecisionCost",
    "export_model",
    "measure_cost",
    "repository_configs",
    "run_chain",
]
