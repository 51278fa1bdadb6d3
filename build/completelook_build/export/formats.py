"""The forms that a model is exported in: what is written, and how it is run to be checked.

TorchScript is the default: upstream has deprecated it, and Triton's libtorch backend still is the
one that batches. AOTInductor's package has machine code for the processor that compiled it. ONNX is
for Triton's onnxruntime backend.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from completelook.contract import Model
from torch import Tensor, nn

from completelook_build.backbones import PRECISIONS, Backbone
from completelook_build.errors import ExportError

Run = Callable[..., Sequence[Tensor]]
_TORCH_TYPES = {"UINT8": torch.uint8, "INT64": torch.int64, "FP32": torch.float32}
_ONNX_TYPES = {"UINT8": "tensor(uint8)", "INT64": "tensor(int64)", "FP32": "tensor(float)"}


@dataclass(frozen=True)
class Format:
    """A form of a model: its file, what Triton has to be told of it, who writes and who runs it."""

    file: str
    backend: str  # lines of config.pbtxt
    kind: str  # of the instances
    save: Callable[[nn.Module, Model, Path], None]
    load: Callable[[Path, Model], Run]
    precisions: Sequence[str] = ("fp32",)
    parameters: Mapping[str, str] = field(default_factory=dict)
    batches: bool = True
    is_named_by_place: bool = False  # INPUT__0, OUTPUT__0, whatever forward() calls them


def _save_torchscript(module: nn.Module, _: Model, path: Path) -> None:
    script = module.script() if isinstance(module, Backbone) else torch.jit.script(module)
    try:
        script.save(str(path))
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(str(error).splitlines()[0]) from error


def _load_torchscript(path: Path, _: Model) -> Run:
    run: Run = torch.jit.load(path)
    return run


def _save_package(module: nn.Module, model: Model, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ExportError(
            "AOTInductor compiles a model with a C++ compiler, and there is none: install g++ "
            "(Debian: apt-get install g++), name one in CXX, or take --format torchscript or onnx"
        ) from error
    with tempfile.TemporaryDirectory() as folder, _refused(model, "aoti"):
        exported = torch.export.export(module, _example(model), dynamic_shapes=_growing(model))
        # Its name must end in .pt2, which a file beside its place does not.
        written = aoti_compile_and_package(exported, package_path=str(Path(folder, "model.pt2")))
        path.write_bytes(Path(written).read_bytes())


def _load_package(path: Path, _: Model) -> Run:
    from torch._inductor import aoti_load_package

    package = aoti_load_package(BytesIO(path.read_bytes()))  # of paths it takes *.pt2 alone

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        # As Triton gives them: the machine code takes their order in memory for granted.
        answers: Sequence[Tensor] = package(*(each.contiguous() for each in inputs))
        return answers

    return run


def _save_onnx(module: nn.Module, model: Model, path: Path) -> None:
    _import_onnxruntime()
    with warnings.catch_warnings(), _refused(model, "onnx"):
        warnings.filterwarnings("ignore", "# The axis name")  # the inputs share it, as they should
        torch.onnx.export(
            module,
            _example(model),
            path,
            input_names=[tensor.name for tensor in model.inputs],
            output_names=[tensor.name for tensor in model.outputs],
            dynamic_shapes=_growing(model),
            external_data=False,
            verbose=False,
        )


def _load_onnx(path: Path, model: Model) -> Run:
    """Run a model as Triton's onnxruntime backend does, by the names of the configuration.

    Raises ExportError where that backend would refuse it for another name, type or shape.
    """
    runtime = _import_onnxruntime()
    session = runtime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for found, agreed in (
        (session.get_inputs(), model.inputs),
        (session.get_outputs(), model.outputs),
    ):
        # The first dimension must be open, and has a name then.
        got = [(each.name, each.type, (-1, *each.shape[1:])) for each in found]
        open_first = all(isinstance(each.shape[0], str) for each in found)
        wanted = [(each.name, _ONNX_TYPES[each.data_type], (-1, *each.shape)) for each in agreed]
        if got != wanted or not open_first:
            raise ExportError(f"{model.name}: the ONNX file has {got}, expected {wanted}")
    names = [tensor.name for tensor in model.inputs]

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        arrays = {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
        answers = session.run([tensor.name for tensor in model.outputs], arrays)
        return tuple(torch.from_numpy(answer) for answer in answers)

    return run


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx imports it, and names it worse where it is missing
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{error.name}, which ONNX files are written and checked with, is not installed: "
            "pip install 'completelook[onnx]'"
        ) from error
    module: ModuleType = onnxruntime
    return module


@contextmanager
def _refused(model: Model, form: str) -> Iterator[None]:
    """One line for what an exporter cannot follow."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # torch's exporters raise every kind of error.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"{model.name} cannot be written as {form}: {reason}; --format {DEFAULT_FORMAT} may do"
        ) from error


def _example(model: Model) -> tuple[Tensor, ...]:
    """Zeros for a batch of two: torch takes a dimension of one for one that stays."""
    return tuple(
        torch.zeros(2, *tensor.shape, dtype=_TORCH_TYPES[tensor.data_type])
        for tensor in model.inputs
    )


def _growing(model: Model) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in model.inputs)


DEFAULT_FORMAT = "torchscript"
FORMATS: Mapping[str, Format] = {
    "torchscript": Format(
        file="model.pt",
        backend='backend: "pytorch"\n',
        kind="KIND_AUTO",
        save=_save_torchscript,
        load=_load_torchscript,
        precisions=tuple(PRECISIONS),
        parameters={"INFERENCE_MODE": "true"},
    ),
    "aoti": Format(
        file="model.pt2",
        backend='backend: "pytorch"\nplatform: "torch_aoti"\n',
        kind="KIND_CPU",
        save=_save_package,
        load=_load_package,
        parameters={"INFERENCE_MODE": "true"},
        batches=False,
        is_named_by_place=True,
    ),
    "onnx": Format(
        file="model.onnx",
        backend='backend: "onnxruntime"\n',
        kind="KIND_AUTO",
        save=_save_onnx,
        load=_load_onnx,
    ),
}
