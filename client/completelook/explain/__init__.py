"""Explanations: where the model looked, and pages that show it."""

from completelook.explain.look_page import write_look
from completelook.explain.overlays import attention_map, overlay, save_overlays, shrunk
from completelook.explain.report import EmbeddedPicture, embedded_picture, write_report

__all__ = [
    "EmbeddedPicture",
    "attention_map",
    "embedded_picture",
    "overlay",
    "save_overlays",
    "shrunk",
    "write_look",
    "write_report",
]
