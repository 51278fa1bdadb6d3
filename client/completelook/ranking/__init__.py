"""Ranking: the distance, the nearest products of a category, and what a distance means."""

from completelook.ranking.calibration import Calibration
from completelook.ranking.look import (
    NO_BETTER,
    Look,
    LookOptions,
    Looks,
    complete,
    require_look_options,
)
from completelook.ranking.ranking import (
    Match,
    RankedScene,
    RankOptions,
    categories_to_rank,
    compatible,
    rank,
    rank_scene,
    rank_scenes,
    require_options,
)
from completelook.ranking.variety import NO_VARIETY, Variety

__all__ = [
    "NO_BETTER",
    "NO_VARIETY",
    "Calibration",
    "Look",
    "LookOptions",
    "Looks",
    "Match",
    "RankOptions",
    "RankedScene",
    "Variety",
    "categories_to_rank",
    "compatible",
    "complete",
    "rank",
    "rank_scene",
    "rank_scenes",
    "require_look_options",
    "require_options",
]
