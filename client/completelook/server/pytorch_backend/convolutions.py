"""Convolutions on a CPU as oneDNN runs them fastest: weights in its own layout, what follows fused.

libtorch brings the weights of every convolution into that layout on every call, a quarter of
a ResNet50's time at batch 1, and goes over each result once more for a ReLU or ReLU6 and once for
an addition, whose sum it puts into memory of its own. The layout cannot be saved in a TorchScript
file, so it is made when a model is loaded.
"""

from __future__ import annotations  # types of torch that are private as well

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_CONVOLUTION = "mkldnn::_convolution_pointwise"
_IN_PLACE = "mkldnn::_convolution_pointwise_"  # the sum goes into what is added
_ARGUMENTS = "%input, %weight, %bias, %stride, %padding, %dilation, %groups"
_SETTINGS = "%padding, %stride, %dilation, %groups"  # in the order of the fused operator
# The weight is the third argument where something is added, the second elsewhere.
_ADDING_ARGUMENTS = 13


def packed_or_as_saved(
    module: torch.jit.ScriptModule, example: Sequence[Tensor], warn: Callable[[str], None]
) -> Callable[..., Any]:
    """The module with its convolutions packed where that works, as it was saved elsewhere.

    `warn` is told why not. Any failure counts: the functions of torch that this rests on are
    private, and may be gone or others in the next version.
    """
    try:
        return pack_convolutions(module, example) or module
    except Exception as exc:
        reason = (str(exc).strip().splitlines() or ["no reason given"])[-1]
        warn(f"keeps its convolutions as saved: {type(exc).__name__}: {reason}")
        return module


def pack_convolutions(
    module: torch.jit.ScriptModule, example: Sequence[Tensor]
) -> Callable[..., Any] | None:
    """A function that answers as the module does, its convolutions packed; None if it has none.

    The sizes of the pictures that `example` leads through it are those that the layouts are best
    for; others are answered as well. So is any batch size, where the example is a batch of two or
    more: one picture on all threads then has layouts of its own. Results differ by rounding: what
    is fused is not rounded in between.

    Raises RuntimeError for a module that cannot be written anew in this way, and anything where
    torch's private functions are not those of this version.
    """
    if not _fits(module):
        return None
    # A frozen graph has the weights as constants, and methods and submodules written out.
    graph = torch.jit.freeze(module).graph.copy()
    if next(graph.inputs()).uses():
        return None  # The module changes while it runs.
    graph.eraseInput(0)
    for pattern, replacement in _REWRITES.items():
        if "%other" in pattern and _adds_numbers(graph):
            continue  # A pattern does not tell them from tensors.
        torch._C._jit_pass_custom_pattern_based_rewrite_graph(pattern, replacement, graph)
    convolutions = _convolutions(graph, example)
    weights = [each.pack() for each in convolutions]
    weights_alone = [
        each.pack_alone(packed) for each, packed in zip(convolutions, weights, strict=True)
    ]
    for each in convolutions:
        each.take_weight_from_outside(graph)
        each.add_in_place(graph)
    function = torch._C._create_function_from_graph("forward", graph)
    all_threads = torch.get_num_threads()

    def run(*inputs: Tensor) -> Any:
        alone = len(inputs[0]) == 1 and torch.get_num_threads() == all_threads
        return function(*inputs, *(weights_alone if alone else weights))

    run(*example)
    return run


def _fits(module: torch.jit.ScriptModule) -> bool:
    """Whether there are convolutions, of a type that oneDNN has fast code for on this machine."""
    if module.training or not torch.backends.mkldnn.is_available():
        return False
    kinds = {parameter.dtype for parameter in module.parameters() if parameter.dim() == 4}
    supported = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        supported.add(torch.bfloat16)
    return bool(kinds) and kinds <= supported


def _adds_numbers(graph: torch.Graph) -> bool:
    sums = [node for node in graph.nodes() if node.kind() in ("aten::add", "aten::add_")]
    return any(list(node.inputs())[1].type().kind() != "TensorType" for node in sums)


def _rewrites() -> Mapping[str, str]:
    """What is fused, the longest first, as graphs of TorchScript and what takes their place."""
    rewrites = {}
    for add in ("add", "add_"):
        addition = f"aten::{add}(%step, %other, %alpha)"
        for relu in ("relu", "relu_"):
            pattern = _chain(f"{_ARGUMENTS}, %other, %alpha", addition, f"aten::{relu}(%step)")
            rewrites[pattern] = _adding('str = prim::Constant[value="relu"]()')
        pattern = _chain(f"{_ARGUMENTS}, %other, %alpha", addition)
        rewrites[pattern] = _adding("NoneType = prim::Constant()")
    for inplace in ("", "_"):
        rewrites[_chain(_ARGUMENTS, f"aten::relu{inplace}(%step)")] = _single("relu")
        bounds = "%low, %high"  # of ReLU6, which is a hyperbolic tangent made of straight lines
        pattern = _chain(f"{_ARGUMENTS}, {bounds}", f"aten::hardtanh{inplace}(%step, {bounds})")
        rewrites[pattern] = _single("hardtanh", bounds)
    rewrites[_chain(_ARGUMENTS)] = _single("none")
    return rewrites


def _chain(arguments: str, *steps: str) -> str:
    """A graph that convolves, and does what follows with each step's result."""
    lines = [f"  %step : Tensor = aten::conv2d({_ARGUMENTS})\n"]
    lines += [f"  %step : Tensor = {step}\n" for step in steps]
    numbered = ""
    for number, line in enumerate(lines):
        result, _, operation = line.partition(" = ")
        operation = operation.replace("%step", f"%step.{number - 1}")
        numbered += result.replace("%step", f"%step.{number}") + " = " + operation
    return f"graph({arguments}):\n{numbered}  return (%step.{len(steps)})"


def _adding(activation: str) -> str:
    return (
        f"graph({_ARGUMENTS}, %other, %alpha):\n"
        '  %add : str = prim::Constant[value="add"]()\n'
        f"  %activation : {activation}\n"
        "  %none : NoneType = prim::Constant()\n"
        "  %scalars : Scalar?[] = prim::ListConstruct()\n"
        f"  %result : Tensor = {_CONVOLUTION}(%input, %other, %weight, %bias, "
        f"{_SETTINGS}, %add, %alpha, %activation, %scalars, %none)\n"
        "  return (%result)"
    )


def _single(activation: str, scalars: str = "") -> str:
    return (
        f"graph({', '.join(filter(None, (_ARGUMENTS, scalars)))}):\n"
        f'  %activation : str = prim::Constant[value="{activation}"]()\n'
        "  %none : NoneType = prim::Constant()\n"
        f"  %scalars : Scalar?[] = prim::ListConstruct({scalars})\n"
        f"  %result : Tensor = {_CONVOLUTION}(%input, %weight, %bias, "
        f"{_SETTINGS}, %activation, %scalars, %none)\n"
        "  return (%result)"
    )


_REWRITES = _rewrites()


@dataclass(frozen=True)
class _Convolution:
    """A convolution of a graph, its input's size, and whether what it adds has its result's."""

    node: torch.Node
    input_size: list[int]
    adds_same_size: bool

    def pack(self) -> Tensor:
        """The packed weight, best for the pictures of the example."""
        return self._packed_for(self.input_size)

    def pack_alone(self, packed: Tensor) -> Tensor:
        """The packed weight best for one picture: the one for several, where that is the same."""
        alone = self._packed_for([1, *self.input_size[1:]])
        layout = torch.ops.mkldnn._get_mkldnn_serialized_md
        return packed if torch.equal(layout(alone), layout(packed)) else alone

    def _packed_for(self, input_size: Sequence[int]) -> Tensor:
        arguments = list(self.node.inputs())[self._weight_position :][:6]
        weight, _, *settings = (argument.toIValue() for argument in arguments)
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, input_size)
        return packed

    def take_weight_from_outside(self, graph: torch.Graph) -> None:
        """Make the weight a further input of the graph."""
        self.node.replaceInput(self._weight_position, graph.addInput())

    @property
    def _weight_position(self) -> int:
        return 2 if _adds(self.node) else 1

    def add_in_place(self, graph: torch.Graph) -> None:
        """Put the sum where the added tensor lies, if it is a convolution's and not needed later.

        Raises RuntimeError where torch refuses the new node.
        """
        if not self.adds_same_size or not self._is_last_use():
            return
        added_to, other, *further = self.node.inputs()
        in_place = graph.create(_IN_PLACE, [other, added_to, *further], 1)
        in_place.insertBefore(self.node)
        in_place.output().setType(self.node.output().type())
        self.node.output().replaceAllUsesWith(in_place.output())
        self.node.destroy()

    def _is_last_use(self) -> bool:
        added: torch.Value = list(self.node.inputs())[1]
        earlier = [use.user for use in added.uses() if use.user.isBefore(self.node)]
        # Anything but a convolution could have left a view of it.
        kinds = {node.kind() for node in (added.node(), *earlier)}
        return len(earlier) == len(added.uses()) - 1 and kinds <= {_CONVOLUTION, _IN_PLACE}


def _adds(node: torch.Node) -> bool:
    return len(list(node.inputs())) == _ADDING_ARGUMENTS


def _convolutions(graph: torch.Graph, example: Sequence[Tensor]) -> list[_Convolution]:
    """A graph's convolutions, with their sizes in a run of the example.

    Those within loops and branches, which not every batch runs once, are not among them.
    """
    watched = graph.copy()
    for _ in list(watched.outputs()):
        watched.eraseOutput(0)
    for node in _outermost(watched):
        first, second, *_ = node.inputs()
        for value in (first, second, node.output()):
            watched.registerOutput(value)
    watched.makeMultiOutputIntoTuple()
    tensors = iter(torch._C._create_function_from_graph("forward", watched)(*example))
    return [
        _Convolution(node, list(first.shape), _adds(node) and second.shape == result.shape)
        for node, first, second, result in zip(
            _outermost(graph), tensors, tensors, tensors, strict=True
        )
    ]


def _outermost(graph: torch.Graph) -> list[torch.Node]:
    return [node for node in graph.nodes() if node.kind() == _CONVOLUTION]
