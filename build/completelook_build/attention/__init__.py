"""Where the model looks: a study against true anchors and generic saliency."""

from completelook_build.attention.report import STUDY_MODULES, print_study, study_model
from completelook_build.attention.study import AttentionStudy

__all__ = ["STUDY_MODULES", "AttentionStudy", "print_study", "study_model"]
