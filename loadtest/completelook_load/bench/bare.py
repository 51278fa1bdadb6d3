"""The backbone without a server, in the runtimes that a CPU or a GPU has for it."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from completelook.contract import IMAGE_SIZE
from completelook.server.pytorch_backend import EXAMPLE_BATCH, fuse
from completelook_build.backbones import Backbone, Network, normalise, per_row
from completelook_build.training import TrainedModel
from numpy.typing import NDArray
from torch import Tensor, nn

from completelook_load.bench import contenders as named
from completelook_load.bench.contenders import Contenders
from completelook_load.bench.sample import Sample, repeat

Images = NDArray[np.uint8]  # [B, 224, 224, 3]
Runner = Callable[[Images], object]


def bare_contenders(
    runners: dict[str, Runner], images: Images, batch_sizes: Sequence[int], duration_s: float
) -> Contenders:
    """Every runner with every batch size, warmed up."""
    contenders: dict[str, Callable[[], Sample]] = {}
    for name, runner in runners.items():
        for batch_size in batch_sizes:
            batch = np.ascontiguousarray(np.resize(images, (batch_size, *images.shape[1:])))
            call = partial(runner, batch)
            for _ in range(3):  # the profiling executor compiles on the second run
                call()
            contenders[named.at_batch(name, batch_size)] = partial(
                repeat, call, batch_size, duration_s
            )
    return contenders


def cpu_runners(model: TrainedModel) -> dict[str, Runner]:
    """The backbone on the CPU, in every runtime."""
    fp32, bf16 = model.backbone(), model.backbone("bf16").script()
    with tempfile.TemporaryDirectory() as folder:
        onnx = _to_onnx(fp32, Path(folder) / "backbone.onnx")
        session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    return {
        named.EAGER: torch_runner(EagerBackbone(model.network)),
        named.TORCHSCRIPT_FP32: torch_runner(fp32.script()),
        named.TORCHSCRIPT_BF16: torch_runner(bf16),
        named.FUSED_BF16: fused_runner(bf16),
        named.ONNX_RUNTIME: lambda images: session.run(None, {"IMAGE__0": images}),
        named.OPENVINO_FP32: openvino_runner(fp32, "f32"),
        named.OPENVINO_BF16: openvino_runner(fp32, "bf16"),
    }


def gpu_runners(model: TrainedModel) -> dict[str, Runner]:
    """The backbone on an NVIDIA GPU; pictures come from the host, as they do to a server."""
    return {
        named.EAGER: torch_runner(EagerBackbone(model.network), "cuda"),
        named.TORCHSCRIPT_FP32: torch_runner(model.backbone().script(), "cuda"),
        named.TORCHSCRIPT_FP16: torch_runner(model.backbone("fp16").script(), "cuda"),
    }


class EagerBackbone(nn.Module):
    """The network as it comes, with the same answers as the exported backbone."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.module
        self.register_buffer("mean", per_row(network.card.mean))
        self.register_buffer("deviation", per_row(network.card.deviation))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """UINT8 [B, 224, 224, 3] -> m [B, C, 14, 14], v [B, D]."""
        scaled = normalise(images, self.mean, self.deviation).contiguous()  # [B, 3, 224, 224]
        answer: tuple[Tensor, Tensor] = self.network(scaled)
        return answer


def torch_runner(module: nn.Module, device: str = "cpu") -> Runner:
    """A module of torch; on a GPU a call ends when the GPU has finished."""
    module = module.to(device)

    def run(images: Images) -> object:
        with torch.inference_mode():
            answer = module(torch.from_numpy(images).to(device))
            if device != "cpu":
                torch.cuda.synchronize()
            return answer

    return run


def fused_runner(module: torch.jit.ScriptModule) -> Runner:
    """A module as the embedded server runs it on a CPU."""
    random = torch.Generator().manual_seed(0)
    shape = (EXAMPLE_BATCH, IMAGE_SIZE, IMAGE_SIZE, 3)
    example = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
    with torch.inference_mode():
        fused = fuse(module, [example], [torch.get_num_threads()])

    def run(images: Images) -> object:
        with torch.inference_mode():
            return (fused or module)(torch.from_numpy(images))

    return run


def _to_onnx(backbone: Backbone, path: Path) -> bytes:
    example = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    torch.onnx.export(
        backbone,
        (example,),
        path,
        input_names=["IMAGE__0"],
        dynamic_shapes={"IMAGE__0": {0: torch.export.Dim("batch")}},
        external_data=False,
        verbose=False,
    )
    return path.read_bytes()


def openvino_runner(backbone: Backbone, precision: str) -> Runner:
    """The backbone compiled by OpenVINO for each batch size that comes, one call at a time."""
    compiled: dict[int, openvino.CompiledModel] = {}

    def compile_for(batch_size: int) -> openvino.CompiledModel:
        shape = [batch_size, IMAGE_SIZE, IMAGE_SIZE, 3]
        example = torch.zeros(shape, dtype=torch.uint8)
        model = openvino.convert_model(backbone, example_input=example, input=shape)
        hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        return openvino.Core().compile_model(model, "CPU", hints)

    def run(images: Images) -> object:
        if len(images) not in compiled:
            compiled[len(images)] = compile_for(len(images))
        return compiled[len(images)](images)

    return run
