"""Ranking: the distance, the nearest products of a category, and what a distance means."""

from completelook.ranking.calibration import Calibration
from completelook.ranking.ranking import (
    Match,
    RankedScene,
    categories_to_rank,
    compatible,
    rank,
    rank_scene,
    require_options,
)

__all__ = [
    "Calibration",
    "Match",
    "RankedScene",
    "categories_to_rank",
    "compatible",
    "rank",
    "rank_scene",
    "require_options",
]
