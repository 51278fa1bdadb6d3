"""What a model is worth: figures with intervals, comparisons, calibration, a sheet."""

from completelook_build.evaluation.calibration import (
    CalibrationReport,
    calibrate_model,
    read_calibration,
)
from completelook_build.evaluation.comparison import COMPARISON_MODULES, Comparison, make_table
from completelook_build.evaluation.evaluate import (
    Evaluation,
    evaluate_model,
    evaluate_scores,
    print_evaluation,
)
from completelook_build.evaluation.metrics import (
    CONFIDENCE,
    RESAMPLES,
    Array,
    Estimate,
    scene_weights,
    weighted_means,
    with_interval,
)
from completelook_build.evaluation.sheet import make_sheet
from completelook_build.evaluation.table import (
    comparison_as_markdown,
    print_comparison,
    write_comparison,
)

__all__ = [
    "COMPARISON_MODULES",
    "CONFIDENCE",
    "RESAMPLES",
    "Array",
    "CalibrationReport",
    "Comparison",
    "Estimate",
    "Evaluation",
    "calibrate_model",
    "comparison_as_markdown",
    "evaluate_model",
    "evaluate_scores",
    "make_sheet",
    "make_table",
    "print_comparison",
    "print_evaluation",
    "read_calibration",
    "scene_weights",
    "weighted_means",
    "with_interval",
    "write_comparison",
]
