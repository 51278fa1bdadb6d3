"""Training: from a split's features to the heads of the best epoch, and the folder they live in."""

from completelook_build.training.checkpoint import Checkpoint
from completelook_build.training.held_out import read_held_out
from completelook_build.training.loop import Epoch, Trained, TrainingConfig, train_heads
from completelook_build.training.model_folder import (
    TrainedModel,
    heads_id,
    load_model,
    save_model,
    versions,
)
from completelook_build.training.train import train_model
from completelook_build.training.triplets import MININGS, Mining, semi_hard, triplet_hinge

__all__ = [
    "MININGS",
    "Checkpoint",
    "Epoch",
    "Mining",
    "Trained",
    "TrainedModel",
    "TrainingConfig",
    "heads_id",
    "load_model",
    "read_held_out",
    "save_model",
    "semi_hard",
    "train_heads",
    "train_model",
    "triplet_hinge",
    "versions",
]
