"""Export: a trained model into Triton's repository, as TorchScript checked against eager."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from completelook.contract import (
    BACKBONE,
    ENSEMBLES,
    IMAGE_SIZE,
    PRODUCT_HEAD,
    SCENE_HEAD,
)
from completelook.golden import GoldenRecord, golden_image
from completelook.ranking.calibration import Calibration
from torch import Tensor, nn

from completelook_build.errors import ExportError
from completelook_build.export.triton_config import repository_configs
from completelook_build.heads import ProductHead, SceneHead
from completelook_build.training import TrainedModel

PARITY_BATCH_SIZES = (1, 2, 7)
PARITY_TOLERANCE = 1e-4
# How far an embedding of the golden image may lie from the export's once other kernels, another
# batch or another device have rounded it in between.
GOLDEN_TOLERANCES = {"fp32": PARITY_TOLERANCE, "bf16": 1e-2, "fp16": 1e-2}
VERSION = "1"


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how far its answers are from eager PyTorch's."""

    model_id: int
    precision: str
    parity: Mapping[int, float]  # batch size -> largest absolute difference of an embedding


def export_model(
    model: TrainedModel,
    repository: Path,
    *,
    precision: str = "fp32",
    calibration: Calibration | None = None,
    response_cache: bool = False,
) -> ExportReport:
    """Write TorchScript models, configurations and the golden record into a model repository.

    Nothing of an earlier export is replaced before the new one has passed its parity check.
    `response_cache` has Triton remember answers (see `repository_configs`).
    Raises ExportError where the heads are an ablation, scripted and eager answers differ or the
    repository cannot be written.
    """
    if model.config.form != "full":
        raise ExportError(
            f"heads of form {model.config.form!r} are an ablation, made to be compared; only "
            "'full' can be exported"
        )
    backbone = model.backbone(precision).eval()
    modules: dict[str, nn.Module] = {
        BACKBONE.name: backbone,
        SCENE_HEAD.name: SceneHead(model.heads, model.heads_id).eval(),
        PRODUCT_HEAD.name: ProductHead(model.heads, model.heads_id).eval(),
    }
    try:
        written = {name: _write_script(repository, name, modules[name]) for name in modules}
        parity = check_parity(modules, written)
        _write_configs(
            repository,
            repository_configs(
                model.config.categories,
                calibration,
                precision=precision,
                response_cache=response_cache,
            ),
        )
        _write_golden(repository, modules, backbone.id ^ model.heads_id, precision)
        for partial in written.values():
            partial.replace(partial.with_suffix(""))
    except OSError as error:
        raise ExportError(f"{repository}: cannot be written ({error})") from error
    return ExportReport(backbone.id ^ model.heads_id, precision, parity)


def _write_script(repository: Path, name: str, module: nn.Module) -> Path:
    folder = repository / name / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.pt.partial"
    torch.jit.script(module).save(str(path))
    return path


def check_parity(modules: Mapping[str, nn.Module], written: Mapping[str, Path]) -> dict[int, float]:
    """The largest difference of any embedding between eager and the files, by batch size.

    Raises ExportError where it exceeds `PARITY_TOLERANCE`.
    """
    scripts = {name: torch.jit.load(str(path)) for name, path in written.items()}
    random = torch.Generator().manual_seed(0)
    differences = {}
    for batch_size in PARITY_BATCH_SIZES:
        shape = (batch_size, IMAGE_SIZE, IMAGE_SIZE, 3)
        images = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
        eager, scripted = run_chain(modules, images), run_chain(scripts, images)
        if not all(torch.equal(eager[key], scripted[key]) for key in eager if key.endswith("_ID")):
            raise ExportError(
                "the scripted models answer with another MODEL_ID than the eager ones"
            )
        difference = max(float((eager[key] - scripted[key]).abs().max()) for key in eager)
        if not difference <= PARITY_TOLERANCE:
            raise ExportError(
                f"scripted and eager embeddings differ by {difference:.1e} at batch {batch_size}, "
                f"more than {PARITY_TOLERANCE:.0e}; nothing was exported"
            )
        differences[batch_size] = difference
    return differences


@torch.inference_mode()
def run_chain(modules: Mapping[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    """What the ensembles answer for UINT8 [B, 224, 224, 3], by the names of their outputs."""
    feature_map, pooled, backbone_id = modules[BACKBONE.name](images)
    scene = modules[SCENE_HEAD.name](feature_map, pooled, backbone_id)
    product, _ = modules[PRODUCT_HEAD.name](pooled, backbone_id)
    names = (t.name.rpartition("__")[0] for t in SCENE_HEAD.outputs)
    return {**dict(zip(names, scene, strict=True)), "PRODUCT_EMBEDDING": product}


def _write_configs(repository: Path, configs: Mapping[str, str]) -> None:
    for name, text in configs.items():
        path = repository / name / "config.pbtxt"
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name("config.pbtxt.partial")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    for ensemble in ENSEMBLES:
        version = repository / ensemble.name / VERSION
        version.mkdir(exist_ok=True)
        (version / ".gitkeep").touch()


def _write_golden(
    repository: Path, modules: Mapping[str, nn.Module], model_id: int, precision: str
) -> None:
    """The golden image's embeddings, for `completelook doctor` to compare the server's with."""
    answer = run_chain(modules, torch.from_numpy(golden_image()).unsqueeze(0))
    GoldenRecord(
        model_id=model_id,
        scene_embedding=tuple(answer["SCENE_EMBEDDING"][0].tolist()),
        product_embedding=tuple(answer["PRODUCT_EMBEDDING"][0].tolist()),
        tolerance=GOLDEN_TOLERANCES[precision],
    ).write(repository)
