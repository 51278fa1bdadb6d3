"""The machine that a benchmark ran on, and what a reader needs to know of it."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import torch
from completelook_build.training import TrainedModel
from torch.utils.flop_counter import FlopCounterMode

from completelook_load.bench.bare import EagerBackbone
from completelook_load.bench.sample import repeat

Machine = dict[str, str]

# Instructions that decide how fast reduced precision is.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_PACKAGES = ("torch", "torchvision", "onnxruntime", "openvino", "litserve", "fastapi")
_MATRIX_SIZE = 8192


def describe_machine() -> Machine:
    """What is the same for every figure of a run."""
    processor = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(_field(processor, "flags").split())
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    backend = "libtorch" if os.environ.get("TRITONSERVER") else "embedded stand-in of libtorch's"
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "CPU": f"{len(os.sched_getaffinity(0))} cores of {_field(processor, 'model name')}",
        "instructions": ", ".join(name for name in _INSTRUCTIONS if name in flags),
        "memory": f"{memory_gib:.0f} GiB",
        "threads of torch": str(torch.get_num_threads()),
        "Triton's pytorch backend": backend,
        "software": f"Python {platform.python_version()}, {packages}",
    }


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else "unknown"


def slug(machine: Machine) -> str:
    """A name for a file: the GPU where there is one, else the CPU."""
    part = machine["CPU"] if machine["GPU"] == "none" else machine["GPU"]
    return re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")


def operations_per_image(model: TrainedModel) -> float:
    """Multiplications and additions of one image's way through the backbone."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        EagerBackbone(model.network)(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    return float(counter.get_total_flops())


def gpu_operations_per_s(size: int = _MATRIX_SIZE, device: str = "cuda") -> float:
    """What this GPU reaches where nothing holds it up: large FP16 matrices multiplied."""
    matrix = torch.ones(size, size, dtype=torch.float16, device=device)

    def multiply() -> None:
        # One number has to come back, so the call ends when the GPU has finished.
        (matrix @ matrix)[0, 0].item()

    multiply()
    return repeat(multiply, 1, 1.0).images_per_s * 2 * size**3
