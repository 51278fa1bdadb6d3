"""Frozen backbones, a file a family: an image to regions [C, 14, 14] and a pooled vector [D]."""

from completelook_build.backbones.network import BackboneCard, Network, weights_id
from completelook_build.backbones.resnet import settle_batch_norms
from completelook_build.backbones.served import PRECISIONS, Backbone, normalise, per_row
from completelook_build.backbones.source import DEFAULT, load_network, rebuild_network
from completelook_build.backbones.staged import POOLINGS, Pooling

__all__ = [
    "DEFAULT",
    "POOLINGS",
    "PRECISIONS",
    "Backbone",
    "BackboneCard",
    "Network",
    "Pooling",
    "load_network",
    "normalise",
    "per_row",
    "rebuild_network",
    "settle_batch_norms",
    "weights_id",
]
