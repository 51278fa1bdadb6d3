"""A Python-based Triton backend named `pytorch`: libtorch's place in the embedded server.

It loads the same TorchScript files under the same configurations, and keeps the rules of the
libtorch backend, those that fail a request included: what works here must work in production. What
libtorch takes and this does not (strings, dictionaries, state) is refused when the model loads. One
thing differs by nature: libtorch's thread count holds for the whole server, set by the first model;
here every model instance is a process with its own, and a share of the cores where none is set.

Triton's Python stub imports this file by its place, `BACKEND_DIRECTORY/pytorch/model.py`.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.utils.dlpack
import triton_python_backend_utils as triton
from fusion import EXAMPLE_BATCH, SIZES, fused_or_as_saved
from threads import Threads

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
        self._threads = Threads(config, args["model_repository"])
        self._model = self._prepared(module, config)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests with one call of the model."""
        try:
            with self._threads.share() as threads:
                return list(self._answer(requests, threads))
        except Exception as exc:  # libtorch fails every request of the batch, whatever was raised
            # An error shared by two responses is freed twice, which kills the server.
            errors = [triton.TritonError(str(exc)) for _ in requests]
            return [triton.InferenceResponse(error=error) for error in errors]

    def _apply_parameters(self, parameters: dict[str, dict[str, str]]) -> None:
        self._inference_mode = _flag(parameters, "INFERENCE_MODE", default=True)
        self._optimized = not _flag(parameters, "DISABLE_OPTIMIZED_EXECUTION", default=False)

    def _execution(self) -> ExitStack:
        """The block in which the model runs, as its parameters want it."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode() if self._inference_mode else torch.no_grad())
            if not self._optimized:
                execution = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
                stack.enter_context(execution)
            return stack.pop_all()

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
        unfit = not self._batches or self._device.type != "cpu" or -1 in chain(*sizes)
        if unfit or not self._optimized:
            return module
        types = [_TORCH_TYPES[tensors[name]["data_type"]] for name in self._inputs]
        batch = min(EXAMPLE_BATCH, config["max_batch_size"])
        example = [_example([batch, *size], kind) for size, kind in zip(sizes, types, strict=True)]
        warn = triton.Logger.log_warn
        with torch.inference_mode(self._inference_mode):
            fused: Callable[..., Any] = fused_or_as_saved(
                module,
                example,
                self._threads.counts(SIZES),
                lambda reason: warn(f"model '{config['name']}' {reason}"),
            )
            return fused

    def _answer(self, requests: Sequence[Any], threads: int) -> Iterator[Any]:
        given = [_tensors(request) for request in requests]
        inputs = [_joined([own[name] for own in given]).to(self._device) for name in self._inputs]
        items = len(inputs[0]) if self._batches else 1
        torch.set_num_threads(min(threads, self._threads.worthwhile(items)))
        results = self._forward(inputs)
        outputs = {name: self._output(name, results) for name in self._outputs}
        first = self._inputs[0]
        parts = _split(outputs, [len(own[first]) for own in given]) if self._batches else [outputs]
        for request, part in zip(requests, parts, strict=True):
            wanted = request.requested_output_names()
            yield triton.InferenceResponse(
                [_to_triton(name, output) for name, output in part.items() if name in wanted]
            )

    def _forward(self, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        try:
            with self._execution():
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


def _example(shape: list[int], kind: torch.dtype) -> torch.Tensor:
    """Something that looks like a batch of pictures, each another one."""
    random = torch.Generator().manual_seed(0)
    if kind.is_floating_point:
        return torch.rand(shape, generator=random).to(kind)
    # Other integers may be places in something that the model holds.
    most = 255 if kind == torch.uint8 else 1
    return torch.randint(0, most + 1, shape, generator=random).to(kind)


def _tensors(request: Any) -> dict[str, torch.Tensor]:
    """A request's inputs by name; they stay in its shared memory."""
    return {tensor.name(): _from_triton(tensor) for tensor in request.inputs()}


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat([*tensors])


def _split(outputs: dict[str, torch.Tensor], sizes: list[int]) -> Iterator[dict[str, torch.Tensor]]:
    """The part of each request in the outputs: views of the whole."""
    parts = [torch.split(output, sizes) for output in outputs.values()]
    for part in zip(*parts, strict=True):
        yield dict(zip(outputs, part, strict=True))


# By way of NumPy where it can be: DLPack takes ten times as long, which a light model feels.
def _from_triton(tensor: Any) -> torch.Tensor:
    if tensor.is_cpu():
        return torch.from_numpy(tensor.as_numpy())
    return torch.utils.dlpack.from_dlpack(tensor)


def _to_triton(name: str, output: torch.Tensor) -> Any:
    output = output.contiguous()
    if output.device.type == "cpu":
        return triton.Tensor(name, output.numpy())
    return triton.Tensor.from_dlpack(name, output)


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
