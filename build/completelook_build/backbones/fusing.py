"""Batch norms go into the convolutions before them: fewer passes over every feature map."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_TOLERANCE = 1e-3  # of the largest value: what rounding explains


@torch.no_grad()  # parameters made in inference mode fail in convolutions on one thread
def fuse_batch_norms(module: nn.Module, example: Tensor) -> nn.Module:
    """A copy in which every batch norm is a part of the convolution that feeds it.

    Which feeds which is seen in a run of `example`. Where the answers then differ, because a
    convolution's result also goes elsewhere, the copy is as the module was.
    """
    fused = copy.deepcopy(module).eval()
    with _watched(fused) as feeding:
        expected = fused(example)
    for norm_name, conv_name in feeding.items():
        conv: Any = fused.get_submodule(conv_name)
        norm: Any = fused.get_submodule(norm_name)
        fused.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        # timm's batch norms hold the activation that follows.
        fused.set_submodule(norm_name, getattr(norm, "act", nn.Identity()))
    answers = zip(fused(example), expected, strict=True)
    if all((a - e).abs().max() <= _TOLERANCE * e.abs().max() for a, e in answers):
        return fused
    return copy.deepcopy(module).eval()


@contextmanager
def _watched(module: nn.Module) -> Iterator[dict[str, str]]:
    """The names of the batch norms that run, each with that of the convolution that feeds it."""
    feeding: dict[str, str] = {}
    convolved: list[tuple[Tensor, str]] = []  # held, so that no other tensor takes its place
    names = {child: name for name, child in module.named_modules()}

    def after_convolution(child: nn.Module, _: object, output: Tensor) -> None:
        convolved.append((output, names[child]))

    def before_norm(child: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for output, name in convolved:
            if output is inputs[0]:
                feeding[names[child]] = name

    handles = [
        child.register_forward_hook(after_convolution)
        if isinstance(child, nn.Conv2d)
        else child.register_forward_pre_hook(before_norm)
        for child in names
        if isinstance(child, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        yield feeding
    finally:
        for handle in handles:
            handle.remove()
