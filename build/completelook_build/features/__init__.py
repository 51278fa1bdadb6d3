"""The backbone's features, kept on disk."""

from completelook_build.features.backbone import prepare_backbone
from completelook_build.features.extract import extract
from completelook_build.features.picture import Picture
from completelook_build.features.split import (
    PairFeatures,
    Split,
    Views,
    make_split,
    read_features,
    scene_picture,
)
from completelook_build.features.store import Features, FeatureStore

__all__ = [
    "FeatureStore",
    "Features",
    "PairFeatures",
    "Picture",
    "Split",
    "Views",
    "extract",
    "make_split",
    "prepare_backbone",
    "read_features",
    "scene_picture",
]
