"""Explanations: where the model looked, and pages that show it."""

from completelook.explain.explanation import INDEX, PRODUCTS_DRAWN, write_explanation
from completelook.explain.gaps_page import write_gaps
from completelook.explain.look_page import write_look
from completelook.explain.maps import attention_map, contributions, support
from completelook.explain.overlays import marked, overlay
from completelook.explain.report import write_report
from completelook.images import EmbeddedPicture, embedded_picture, shrunk

__all__ = [
    "INDEX",
    "PRODUCTS_DRAWN",
    "EmbeddedPicture",
    "attention_map",
    "contributions",
    "embedded_picture",
    "marked",
    "overlay",
    "shrunk",
    "support",
    "write_explanation",
    "write_gaps",
    "write_look",
    "write_report",
]
