"""The backbone's features, kept on disk."""

from completelook_build.features.backbone import prepare_backbone
from completelook_build.features.split import (
    PairFeatures,
    Split,
    make_split,
    read_features,
    scene_picture,
)
from completelook_build.features.store import (
    BATCH_SIZE,
    Features,
    Picture,
    extract,
    load_readable,
)

__all__ = [
    "BATCH_SIZE",
    "Features",
    "PairFeatures",
    "Picture",
    "Split",
    "extract",
    "load_readable",
    "make_split",
    "prepare_backbone",
    "read_features",
    "scene_picture",
]
