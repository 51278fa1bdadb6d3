"""Gaps: scenes for which nothing of a category fits, and what to buy for them."""

from completelook.ranking.gaps.gaps import CategoryGap, Neighbor, StyleRegion, Unmet, find_gaps

__all__ = ["CategoryGap", "Neighbor", "StyleRegion", "Unmet", "find_gaps"]
