"""What is learned: the heads in training and as served, and the distances that they give."""

from completelook_build.heads.compatibility import (
    CompatibilityHeads,
    Form,
    HeadsConfig,
    name_of_not_finite,
)
from completelook_build.heads.scoring import (
    Distances,
    PairScore,
    candidate_rows,
    heads_distances,
    pair_accuracy,
    pairwise_accuracy,
    score_pairs,
    score_split,
)
from completelook_build.heads.served import ProductHead, SceneHead
from completelook_build.heads.style import Dropout, Projection, Standardise, StyleEmbedding

__all__ = [
    "CompatibilityHeads",
    "Distances",
    "Dropout",
    "Form",
    "HeadsConfig",
    "PairScore",
    "ProductHead",
    "Projection",
    "SceneHead",
    "Standardise",
    "StyleEmbedding",
    "candidate_rows",
    "heads_distances",
    "name_of_not_finite",
    "pair_accuracy",
    "pairwise_accuracy",
    "score_pairs",
    "score_split",
]
