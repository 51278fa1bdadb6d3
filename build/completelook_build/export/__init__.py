"""Export: a trained model into Triton's repository, checked against the model that was trained."""

from completelook_build.export.export import VERSION, ExportReport, export_model
from completelook_build.export.formats import DEFAULT_FORMAT, FORMATS
from completelook_build.export.parity import Parity, check_parity, run_chain
from completelook_build.export.precision_cost import (
    NOT_MEASURED,
    REFERENCE,
    PrecisionCost,
    measure_cost,
)
from completelook_build.export.triton_config import BATCHING, repository_configs

__all__ = [
    "BATCHING",
    "DEFAULT_FORMAT",
    "FORMATS",
    "NOT_MEASURED",
    "REFERENCE",
    "VERSION",
    "ExportReport",
    "Parity",
    "PrecisionCost",
    "check_parity",
    "export_model",
    "measure_cost",
    "repository_configs",
    "run_chain",
]
