"""A Python-based Triton backend named `pytorch`: libtorch's place in the embedded server.

It loads the same TorchScript files under the same configurations, and keeps the rules of the
libtorch backend, those that fail a request included: what works here must work in production. What
libtorch takes and this does not (strings, dictionaries, state) is refused when the model loads. One
thing differs by nature: libtorch's thread count holds for the whole server, set by the first model;
here every model instance is a process with its own, and a share of the cores where none is set.

Triton's Python stub imports this file by its place, `BACKEND_DIRECTORY/pytorch/model.py`.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.utils.dlpack
import triton_python_backend_utils as triton
from convolutions import packed_or_as_saved
from cores import Cores

# libtorch refuses BF16 as an input or output type.
_TORCH_TYPES = {
    "TYPE_BOOL": torch.bool,
    "TYPE_UINT8": torch.uint8,
    "TYPE_INT8": torch.int8,
    "TYPE_INT16": torch.int16,
    "TYPE_INT32": torch.int32,
    "TYPE_INT64": torch.int64,
    "TYPE_FP16": torch.float16,
    "TYPE_FP32": torch.float32,
    "TYPE_FP64": torch.float64,
}
# With fewer multiplications and additions for each thread of a batch, one thread more is no gain.
_OPERATIONS_A_THREAD = 1e9
_TRITON_TYPES = {torch_type: name for name, torch_type in _TORCH_TYPES.items()}


class TritonPythonModel:
    """One instance of a TorchScript model, in the form Triton's Python backend asks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and map the configured tensors onto its arguments and results."""
        config = json.loads(args["model_config"])
        _refuse_unsupported(config)
        self._batches = config["max_batch_size"] > 0
        self._apply_parameters(config.get("parameters", {}))
        self._device, map_location = _devices(args)
        file_name = config.get("default_model_filename") or "model.pt"
        path = Path(args["model_repository"], args["model_version"], file_name)
        module = self._load(path, args["model_name"], map_location)
        self._inputs = _argument_names(config, module)
        outputs = [output["name"] for output in config["output"]]
        self._outputs = dict(zip(outputs, _positions(outputs), strict=True))
        self._output_types = {output["name"]: output["data_type"] for output in config["output"]}
        self._model = self._prepared(module, config)
        self._threads = _threads(config.get("parameters", {}), args["model_repository"])
        self._operations = _operations(config.get("parameters", {}))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests with one call of the model."""
        try:
            with self._threads() as threads:
                return list(self._answer(requests, threads))
        except Exception as exc:  # libtorch fails every request of the batch, whatever was raised
            # An error shared by two responses is freed twice, which kills the server.
            errors = [triton.TritonError(str(exc)) for _ in requests]
            return [triton.InferenceResponse(error=error) for error in errors]

    def _apply_parameters(self, parameters: dict[str, dict[str, str]]) -> None:
        self._inference_mode = _flag(parameters, "INFERENCE_MODE", default=True)
        self._optimized = not _flag(parameters, "DISABLE_OPTIMIZED_EXECUTION", default=False)

    def _load(
        self, path: Path, model_name: str, map_location: torch.device | None
    ) -> torch.jit.ScriptModule:
        if not path.exists():
            raise triton.TritonModelException(
                f"unable to find '{path}' for model instance '{model_name}'"
            )
        # No eval(): libtorch leaves the module in the mode it was saved in.
        with warnings.catch_warnings(), torch.inference_mode(self._inference_mode):
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
            module: torch.jit.ScriptModule = torch.jit.load(path, map_location=map_location)
        return module

    def _prepared(
        self, module: torch.jit.ScriptModule, config: dict[str, Any]
    ) -> Callable[..., Any]:
        """The module as this machine runs it fastest, itself where that is how it stands."""
        tensors = {tensor["name"]: tensor for tensor in config["input"]}
        sizes = [[int(size) for size in tensors[name]["dims"]] for name in self._inputs]
        if not self._optimized or self._device.type != "cpu" or -1 in chain(*sizes):
            return module
        types = [_TORCH_TYPES[tensors[name]["data_type"]] for name in self._inputs]
        # Two, where there are as many: tensors that do not grow with the batch show.
        batch = [min(2, config["max_batch_size"])] if self._batches else []
        example = [
            torch.zeros(batch + size, dtype=kind) for size, kind in zip(sizes, types, strict=True)
        ]
        warn = triton.Logger.log_warn
        with torch.inference_mode(self._inference_mode):
            packed: Callable[..., Any] = packed_or_as_saved(
                module, example, lambda reason: warn(f"model '{config['name']}' {reason}")
            )
            return packed

    def _answer(self, requests: Sequence[Any], threads: int) -> Iterator[Any]:
        inputs = [self._batch(requests, name) for name in self._inputs]
        torch.set_num_threads(min(threads, self._worthwhile(inputs)))
        results = self._forward(inputs)
        parts = {name: self._split(requests, self._output(name, results)) for name in self._outputs}
        for number, request in enumerate(requests):
            wanted = request.requested_output_names()
            yield triton.InferenceResponse(
                [
                    triton.Tensor.from_dlpack(name, parts[name][number].contiguous())
                    for name in self._outputs
                    if name in wanted
                ]
            )

    def _worthwhile(self, inputs: Sequence[torch.Tensor]) -> int:
        """How many threads a batch is worth: of a little work each, all would wait for the last."""
        if self._operations is None:
            return sys.maxsize
        items = len(inputs[0]) if self._batches else 1
        return max(1, round(items * self._operations / _OPERATIONS_A_THREAD))

    def _batch(self, requests: Sequence[Any], name: str) -> torch.Tensor:
        """Concatenate one input of all requests; a single request's stays in its shared memory."""
        tensors = [
            torch.utils.dlpack.from_dlpack(triton.get_input_tensor_by_name(request, name))
            for request in requests
        ]
        batch = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        return batch.to(self._device)

    def _split(self, requests: Sequence[Any], output: torch.Tensor) -> Sequence[torch.Tensor]:
        """The part of each request in an output: views of the whole."""
        if not self._batches:
            return (output,)
        sizes = [request.inputs()[0].shape()[0] for request in requests]
        return torch.split(output, sizes)

    def _forward(self, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        try:
            with (
                torch.jit.optimized_execution(self._optimized),  # type: ignore[attr-defined]
                torch.inference_mode(self._inference_mode),
                torch.no_grad(),
            ):
                results = self._model(*inputs)
        except Exception as exc:  # TorchScript raises what the model raised, of any class
            raise triton.TritonModelException(f"PyTorch execute failure: {exc}") from exc
        results = results if isinstance(results, tuple) else (results,)
        if not all(isinstance(result, torch.Tensor) for result in results):
            raise triton.TritonModelException(
                "PyTorch execute failure: output must be of type Tensor or Tuple of Tensors. "
                "It should not be a List / Dictionary of Tensors or a Scalar"
            )
        return results

    def _output(self, name: str, results: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Pick and check an output, asked for or not: libtorch checks all of them."""
        position = self._outputs[name]
        if position >= len(results):
            raise triton.TritonModelException(
                f"The output {name} in the model configuration refers to an output index which "
                f"doesn't exist. This model has {len(results)} outputs"
            )
        output = results[position]
        actual_type = _TRITON_TYPES.get(output.dtype, str(output.dtype))
        if actual_type != self._output_types[name]:
            raise triton.TritonModelException(
                f"configuration expects datatype {self._output_types[name]} for output '{name}', "
                f"model provides {actual_type}"
            )
        if output.dim() == 0:
            raise triton.TritonModelException(
                f"output '{name}' is a scalar which is not supported."
            )
        return output.detach()


def _refuse_unsupported(config: dict[str, Any]) -> None:
    for kind in ("input", "output"):
        for tensor in config[kind]:
            if tensor["data_type"] not in _TORCH_TYPES:
                raise triton.TritonModelException(
                    f"unsupported datatype {tensor['data_type']} for {kind} '{tensor['name']}' "
                    f"for model '{config['name']}'"
                )
    for feature in ("sequence_batching", "batch_input", "batch_output"):
        if config.get(feature):
            raise triton.TritonModelException(
                f"model '{config['name']}' uses {feature}, which the embedded server's pytorch "
                "backend does not have"
            )


def _flag(parameters: dict[str, dict[str, str]], name: str, *, default: bool) -> bool:
    if name not in parameters:
        return default
    return parameters[name]["string_value"].lower() in {"true", "1"}


def _operations(parameters: dict[str, dict[str, str]]) -> float | None:
    """What one item costs, None where the configuration does not say or sets the threads itself."""
    if _are_threads_set(parameters) or "OPERATIONS" not in parameters:
        return None
    return float(parameters["OPERATIONS"]["string_value"])


def _are_threads_set(parameters: dict[str, dict[str, str]]) -> bool:
    return _set_threads(parameters) > 0 or "OMP_NUM_THREADS" in os.environ


def _set_threads(parameters: dict[str, dict[str, str]]) -> int:
    return int(parameters.get("INTRA_OP_THREAD_COUNT", {}).get("string_value", 0))


def _threads(
    parameters: dict[str, dict[str, str]], model: str
) -> Callable[[], AbstractContextManager[int]]:
    """How many threads a batch gets: as many as are set, else its instance's share of the cores."""
    if _are_threads_set(parameters):
        threads = max(_set_threads(parameters), 0) or torch.get_num_threads()
        return lambda: nullcontext(threads)
    cores = Cores(model, os.getpid(), torch.get_num_threads())
    share: Callable[[], AbstractContextManager[int]] = cores.share
    return share


def _devices(args: dict[str, str]) -> tuple[torch.device, torch.device | None]:
    """Where the inputs go, and where the weights go: None leaves them where they were saved."""
    match args["model_instance_kind"]:
        case "GPU":
            device = torch.device("cuda", int(args["model_instance_device_id"]))
            return device, device
        case "MODEL":
            return torch.device("cpu"), None
        case _:
            return torch.device("cpu"), torch.device("cpu")


def _argument_names(config: dict[str, Any], module: torch.jit.ScriptModule) -> list[str]:
    """Name the configured input of each argument of forward(), in the arguments' order."""
    inputs = [tensor["name"] for tensor in config["input"]]
    arguments = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]  # after self
    for argument in arguments:
        if argument.type.kind() != "TensorType":
            raise triton.TritonModelException(
                f"An input of type '{argument.type}' was detected in the model. The embedded "
                "server's pytorch backend takes inputs of type Tensor."
            )
    if len(arguments) != len(inputs):
        raise triton.TritonModelException(
            f"unable to load model '{config['name']}', configuration expects {len(inputs)} "
            f"inputs, model provides {len(arguments)}"
        )
    positions = _positions(inputs, [argument.name for argument in arguments])
    if sorted(positions) != list(range(len(inputs))):
        raise triton.TritonModelException(
            f"unable to load model '{config['name']}', inputs {inputs} stand for the arguments "
            f"{positions}, not for each of the {len(arguments)} once"
        )
    return [name for _, name in sorted(zip(positions, inputs, strict=True))]


def _positions(names: list[str], arguments: Sequence[str] = ()) -> list[int]:
    """Place tensors: by argument name, else by `<anything>__<index>`, else in the order given.

    One name outside the rule moves all of them to the next; only inputs have argument names.
    """
    if all(name in arguments for name in names):
        return [arguments.index(name) for name in names]
    suffixes = [name.partition("__")[2] for name in names]
    if all(suffix.isdigit() for suffix in suffixes):
        return [int(suffix) for suffix in suffixes]
    return list(range(len(names)))
