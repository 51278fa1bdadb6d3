"""Explanations: where the model looked, and pages that show it."""

from completelook.explain.contributions import attention_map, contributions, support
from completelook.explain.look_page import write_look
from completelook.explain.overlays import overlay, save_overlays, shrunk
from completelook.explain.report import EmbeddedPicture, embedded_picture, write_report

__all__ = [
    "EmbeddedPicture",
    "attention_map",
    "contributions",
    "embedded_picture",
    "overlay",
    "save_overlays",
    "shrunk",
    "support",
    "write_look",
    "write_report",
]
