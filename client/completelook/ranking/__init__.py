"""Ranking: the distance, the nearest products of a category, and what a distance means."""

from completelook.ranking.calibration import Calibration
from completelook.ranking.ranking import (
    Match,
    RankedScene,
    RankOptions,
    categories_to_rank,
    compatible,
    rank,
    rank_scene,
    require_options,
)
from completelook.ranking.variety import NO_VARIETY, Variety

__all__ = [
    "NO_VARIETY",
    "Calibration",
    "Match",
    "RankOptions",
    "RankedScene",
    "Variety",
    "categories_to_rank",
    "compatible",
    "rank",
    "rank_scene",
    "require_options",
]
