"""Ranking: the distance, the nearest products of a category, and what a distance means."""

from completelook.ranking.calibration import Calibration
from completelook.ranking.gaps import CategoryGap, Neighbor, StyleRegion, Unmet, find_gaps
from completelook.ranking.look import (
    NO_BETTER,
    PRICE_COLUMN,
    Look,
    LookOptions,
    Looks,
    complete,
    require_look_options,
)
from completelook.ranking.match import Match, RankedScene, Ranking
from completelook.ranking.ranking import (
    RankOptions,
    categories_to_rank,
    compatible,
    rank,
    rank_scene,
    rank_scenes,
    require_options,
)
from completelook.ranking.receipts import (
    Place,
    Receipt,
    Replay,
    changed_picture,
    complete_photo,
    rank_photos,
    replay,
)
from completelook.ranking.rules import NO_RULES, Effect, Ledger, Move, Rules
from completelook.ranking.steering import NO_STEERING, Box, Steering, steered
from completelook.ranking.variety import NO_VARIETY, Variety

__all__ = [
    "NO_BETTER",
    "NO_RULES",
    "NO_STEERING",
    "NO_VARIETY",
    "PRICE_COLUMN",
    "Box",
    "Calibration",
    "CategoryGap",
    "Effect",
    "Ledger",
    "Look",
    "LookOptions",
    "Looks",
    "Match",
    "Move",
    "Neighbor",
    "Place",
    "RankOptions",
    "RankedScene",
    "Ranking",
    "Receipt",
    "Replay",
    "Rules",
    "Steering",
    "StyleRegion",
    "Unmet",
    "Variety",
    "categories_to_rank",
    "changed_picture",
    "compatible",
    "complete",
    "complete_photo",
    "find_gaps",
    "rank",
    "rank_photos",
    "rank_scene",
    "rank_scenes",
    "replay",
    "require_look_options",
    "require_options",
    "steered",
]
