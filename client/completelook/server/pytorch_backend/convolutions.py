"""Convolutions on a CPU as oneDNN runs them fastest: weights in its own layout, what follows fused.

libtorch brings the weights of every convolution into that layout on every call, a quarter of
a ResNet50's time at batch 1, and goes over each result once more for a ReLU and once for an
addition. The layout cannot be saved in a TorchScript file, so it is made when a model is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_CONVOLUTION = "mkldnn::_convolution_pointwise"
_ARGUMENTS = "%input, %weight, %bias, %stride, %padding, %dilation, %groups"
_SETTINGS = "%padding, %stride, %dilation, %groups"  # in the order of the fused operator
# The weight is the third argument where something is added, the second elsewhere.
_ADDING_ARGUMENTS = 13


def pack_convolutions(
    module: torch.jit.ScriptModule, example: Sequence[Tensor]
) -> Callable[..., Any] | None:
    """A function that answers as the module does, its convolutions packed; None if it has none.

    The sizes of the pictures that `example` leads through it are those that the layouts are best
    for; others, and any batch size, are answered as well. Results differ by rounding: what is fused
    is not rounded in between.

    Raises RuntimeError for a module that cannot be written anew in this way.
    """
    if not _fits(module):
        return None
    # A frozen graph has the weights as constants, and methods and submodules written out.
    graph = torch.jit.freeze(module).graph.copy()
    if next(graph.inputs()).uses():
        return None  # The module changes while it runs.
    graph.eraseInput(0)
    for pattern, replacement in _REWRITES.items():
        torch._C._jit_pass_custom_pattern_based_rewrite_graph(pattern, replacement, graph)
    weights = _pack(graph, _input_sizes(graph, example))
    function = torch._C._create_function_from_graph("forward", graph)
    function(*example, *weights)
    return lambda *inputs: function(*inputs, *weights)


def _fits(module: torch.jit.ScriptModule) -> bool:
    """Whether there are convolutions, of a type that oneDNN has fast code for on this machine."""
    if module.training or not torch.backends.mkldnn.is_available():
        return False
    kinds = {parameter.dtype for parameter in module.parameters() if parameter.dim() == 4}
    supported = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        supported.add(torch.bfloat16)
    return bool(kinds) and kinds <= supported


def _rewrites() -> Mapping[str, str]:
    """What is fused, the longest first, as graphs of TorchScript and what takes their place."""
    convolution = f"aten::conv2d({_ARGUMENTS})"
    adding = f"{_ARGUMENTS}, %other, %alpha"
    rewrites = {}
    for relu in ("relu", "relu_"):
        for add in ("add", "add_"):
            rewrites[
                f"graph({adding}):\n"
                f"  %convolved : Tensor = {convolution}\n"
                f"  %sum : Tensor = aten::{add}(%convolved, %other, %alpha)\n"
                f"  %result : Tensor = aten::{relu}(%sum)\n"
                "  return (%result)"
            ] = (
                f"graph({adding}):\n"
                '  %add : str = prim::Constant[value="add"]()\n'
                '  %relu : str = prim::Constant[value="relu"]()\n'
                "  %none : NoneType = prim::Constant()\n"
                "  %scalars : Scalar?[] = prim::ListConstruct()\n"
                f"  %result : Tensor = {_CONVOLUTION}(%input, %other, %weight, %bias, "
                f"{_SETTINGS}, %add, %alpha, %relu, %scalars, %none)\n"
                "  return (%result)"
            )
        rewrites[
            f"graph({_ARGUMENTS}):\n"
            f"  %convolved : Tensor = {convolution}\n"
            f"  %result : Tensor = aten::{relu}(%convolved)\n"
            "  return (%result)"
        ] = _single("relu")
    rewrites[f"graph({_ARGUMENTS}):\n  %result : Tensor = {convolution}\n  return (%result)"] = (
        _single("none")
    )
    return rewrites


def _single(activation: str) -> str:
    return (
        f"graph({_ARGUMENTS}):\n"
        f'  %activation : str = prim::Constant[value="{activation}"]()\n'
        "  %none : NoneType = prim::Constant()\n"
        "  %scalars : Scalar?[] = prim::ListConstruct()\n"
        f"  %result : Tensor = {_CONVOLUTION}(%input, %weight, %bias, "
        f"{_SETTINGS}, %activation, %scalars, %none)\n"
        "  return (%result)"
    )


_REWRITES = _rewrites()


class _Sizes(TorchDispatchMode):
    """Notes the size of every convolution's input, in the order in which they run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[list[int]] = []

    def __torch_dispatch__(
        self, operator: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if operator.name().startswith(_CONVOLUTION):
            self.sizes.append(list(args[0].shape))
        return operator(*args, **(kwargs or {}))


def _input_sizes(graph: torch.Graph, example: Sequence[Tensor]) -> list[list[int]]:
    noted = _Sizes()
    with noted:
        torch._C._create_function_from_graph("forward", graph.copy())(*example)
    return noted.sizes


def _pack(graph: torch.Graph, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Make the weights further inputs of the graph, and give their packed values."""
    nodes = graph.findAllNodes(_CONVOLUTION)  # type: ignore[attr-defined]
    if len(nodes) != len(sizes):
        raise RuntimeError(f"{len(nodes)} convolutions, of which {len(sizes)} runs were seen")
    weights = []
    for node, size in zip(nodes, sizes, strict=True):
        arguments = list(node.inputs())
        position = 2 if len(arguments) == _ADDING_ARGUMENTS else 1
        weight, _, *settings = (each.toIValue() for each in arguments[position : position + 6])
        weights.append(torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, size))
        node.replaceInput(position, graph.addInput())
    return weights
