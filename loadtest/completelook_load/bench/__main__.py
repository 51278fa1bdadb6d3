"""`make bench`: the served model beside the bare one and other servers, into docs/benchmarks.md."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import numpy as np
import torch
import typer
from completelook import CompleteLook
from completelook.errors import CompleteLookError, exit_with
from completelook_build.console import say
from completelook_build.training import TrainedModel

from completelook_load.bench.app_server import Image
from completelook_load.bench.bare import bare_contenders, cpu_runners, gpu_runners
from completelook_load.bench.contenders import SERVED, Contenders, light, measure
from completelook_load.bench.machine import (
    describe_machine,
    gpu_operations_per_s,
    operations_per_image,
)
from completelook_load.bench.models import load_models
from completelook_load.bench.page import FIGURES, PAGE, Benchmark, write_page
from completelook_load.bench.served import (
    Server,
    product_contenders,
    served_contenders,
    start_apps,
    start_triton,
)
from completelook_load.inputs import PICTURES, REPORTS, decode, find_pictures

_MODEL = Path("demo/model")
_PRODUCTS = Path("demo/showroom/products.csv")
_WORK = REPORTS / "bench"
_CPU_BATCHES = (1, 8, 32)
_GPU_BATCHES = (1, 8, 32, 128)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    duration_s: Annotated[float, typer.Option(min=0.1, help="How long, each time.")] = 4.0,
    page_only: Annotated[
        bool, typer.Option("--page-only", help="Measure nothing, write the page anew.")
    ] = False,
) -> None:
    """Measure everything in turn, on the demo's pictures, and write the page."""
    if not page_only:
        _measure(rounds, duration_s).write(FIGURES)
    write_page(PAGE, FIGURES)
    say(f"wrote {PAGE}")


def _measure(rounds: int, duration_s: float) -> Benchmark:
    on_gpu = torch.cuda.is_available()
    images = decode(find_pictures(PICTURES))
    models = load_models(_MODEL, images)
    repository, light_repository = models.export(_WORK, "fp16" if on_gpu else "bf16")
    with ExitStack() as stack:
        look = start_triton(stack, repository)
        light_look = start_triton(stack, light_repository)
        apps = start_apps(stack, repository, look, images[0])
        contenders = {
            **_bare(models.full, images, duration_s, on_gpu),
            **_served(look, images, duration_s, apps),
            **_light(_bare(models.light, images, duration_s, on_gpu)),
            **_light(_served(light_look, images, duration_s)),
        }
        measured = measure(contenders, rounds)
    return Benchmark(describe_machine(), _operations(models.full) if on_gpu else None, measured)


def _served(
    look: CompleteLook,
    images: list[Image],
    duration_s: float,
    apps: Mapping[str, Server] = MappingProxyType({}),
) -> Contenders:
    servers = {SERVED: Server(look.embed_scene), **apps}
    return {
        **served_contenders(servers, images, duration_s),
        **product_contenders(look, images, _PRODUCTS, _WORK / "catalog.arrow", duration_s),
    }


def _light(contenders: Contenders) -> Contenders:
    return {light(name): contender for name, contender in contenders.items()}


def _bare(model: TrainedModel, images: list[Image], duration_s: float, on_gpu: bool) -> Contenders:
    runners = gpu_runners(model) if on_gpu else cpu_runners(model)
    batches = _GPU_BATCHES if on_gpu else _CPU_BATCHES
    return bare_contenders(runners, np.stack(images), batches, duration_s)


def _operations(model: TrainedModel) -> dict[str, float]:
    return {"per_image": operations_per_image(model), "gpu_per_s": gpu_operations_per_s()}


if __name__ == "__main__":
    try:
        typer.run(main)
    except (CompleteLookError, OSError) as error:
        exit_with(error)
