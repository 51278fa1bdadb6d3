"""Training: from a split's features to the trained heads, and the folder they live in."""

from completelook_build.training.checkpoint import Checkpoint
from completelook_build.training.held_out import read_held_out
from completelook_build.training.loop import Epoch, Trained, train_heads
from completelook_build.training.model_folder import (
    TrainedModel,
    heads_id,
    load_model,
    save_model,
    versions,
)
from completelook_build.training.recipe import (
    MININGS,
    RECIPES,
    Mining,
    Recipe,
    SmallDataConfig,
    TrainingConfig,
)
from completelook_build.training.softmax import softmax_loss
from completelook_build.training.train import train_model
from completelook_build.training.triplets import semi_hard, triplet_hinge

__all__ = [
    "MININGS",
    "RECIPES",
    "Checkpoint",
    "Epoch",
    "Mining",
    "Recipe",
    "SmallDataConfig",
    "Trained",
    "TrainedModel",
    "TrainingConfig",
    "heads_id",
    "load_model",
    "read_held_out",
    "save_model",
    "semi_hard",
    "softmax_loss",
    "train_heads",
    "train_model",
    "triplet_hinge",
    "versions",
]
