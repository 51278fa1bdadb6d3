"""Receipts: what an answer follows from, the answers that carry one, and how one is replayed."""

from completelook.ranking.receipts.answers import complete_photo, rank_photos
from completelook.ranking.receipts.receipt import Kind, Place, Receipt
from completelook.ranking.receipts.replaying import Replay, changed_picture, replay

__all__ = [
    "Kind",
    "Place",
    "Receipt",
    "Replay",
    "changed_picture",
    "complete_photo",
    "rank_photos",
    "replay",
]
