"""What a model is worth: figures with intervals, comparisons, calibration, a sheet."""

from completelook_build.evaluation.baselines import raw_distances
from completelook_build.evaluation.calibration import (
    CalibrationReport,
    calibrate_model,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from completelook_build.evaluation.comparison import COMPARISON_MODULES, Comparison, make_table
from completelook_build.evaluation.contenders import learn_by_recipe
from completelook_build.evaluation.evaluate import (
    Evaluation,
    Figures,
    evaluate_model,
    evaluate_scores,
    print_evaluation,
)
from completelook_build.evaluation.material import read_materials
from completelook_build.evaluation.metrics import (
    CONFIDENCE,
    RESAMPLES,
    Array,
    Estimate,
    paired_difference,
    scene_weights,
    weighted_means,
    with_interval,
)
from completelook_build.evaluation.reliability import (
    BINS,
    Bin,
    Outcomes,
    bins_of,
    draw_reliability,
    expected_calibration_error,
)
from completelook_build.evaluation.sheet import TEMPLATES, Example, make_example, make_sheet
from completelook_build.evaluation.table import (
    comparison_as_markdown,
    print_comparison,
    write_comparison,
)

__all__ = [
    "BINS",
    "COMPARISON_MODULES",
    "CONFIDENCE",
    "RESAMPLES",
    "TEMPLATES",
    "Array",
    "Bin",
    "CalibrationReport",
    "Comparison",
    "Estimate",
    "Evaluation",
    "Example",
    "Figures",
    "Outcomes",
    "bins_of",
    "calibrate_model",
    "comparison_as_markdown",
    "draw_reliability",
    "evaluate_model",
    "evaluate_scores",
    "expected_calibration_error",
    "fit_calibration",
    "learn_by_recipe",
    "make_example",
    "make_sheet",
    "make_table",
    "paired_difference",
    "print_comparison",
    "print_evaluation",
    "raw_distances",
    "read_calibration",
    "read_materials",
    "scene_weights",
    "weighted_means",
    "with_interval",
    "write_calibration",
    "write_comparison",
]
