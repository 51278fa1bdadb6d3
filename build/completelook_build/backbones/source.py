"""What `--backbone` names: the one way from a text, or from a model folder, to a network."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from completelook_build.backbones import efficientnet_lite, resnet, timm_model
from completelook_build.backbones.network import BackboneCard, Network
from completelook_build.backbones.staged import Pooling
from completelook_build.backbones.weights import load_weights
from completelook_build.errors import WeightsError

DEFAULT = "resnet50"

_BUILD: Mapping[str, Callable[[BackboneCard], nn.Module]] = {
    module.FAMILY: module.build for module in (efficientnet_lite, resnet, timm_model)
}


def load_network(source: str, pooling: Pooling = "head") -> Network:
    """The network that `--backbone` names; a random one still wants `settle_batch_norms`.

    Raises WeightsError where its weights cannot be found, downloaded or read.
    """
    kind, _, rest = source.partition(":")
    if kind == "random":
        return resnet.random_resnet(source, _seed(source, rest), pooling)
    if kind == "timm":
        return timm_model.load_timm_model(source, pooling)
    if source in efficientnet_lite.NAMES:
        return efficientnet_lite.load_efficientnet_lite(source, pooling)
    if source == DEFAULT:
        return resnet.trained_resnet(source, pooling)
    return resnet.resnet_from_file(Path(source), pooling)


def rebuild_network(card: BackboneCard, weights: Path) -> Network:
    """The network of a card around the weights that a model folder keeps.

    Raises WeightsError where its family is not known or not installed, or the file is not its own.
    """
    if card.family not in _BUILD:
        raise WeightsError(
            f"backbone family {card.family!r}: expected one of {', '.join(sorted(_BUILD))}"
        )
    module = _BUILD[card.family](card)
    load_weights(module, weights, card.architecture)
    return Network(card, module)


def _seed(source: str, seed: str) -> int:
    if not seed.isdecimal():
        raise WeightsError(f"backbone {source!r}: the seed must be a whole number, as in random:0")
    return int(seed)
