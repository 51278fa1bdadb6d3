"""Where the model looks: a study against true anchors and generic saliency."""

from completelook_build.attention.report import STUDY_MODULES, print_study, study_model
from completelook_build.attention.sheet import frequent_categories, one_of_each_scene
from completelook_build.attention.study import AttentionStudy, attention_maps, find_views

__all__ = [
    "STUDY_MODULES",
    "AttentionStudy",
    "attention_maps",
    "find_views",
    "frequent_categories",
    "one_of_each_scene",
    "print_study",
    "study_model",
]
