"""Export: a trained model into Triton's repository, as TorchScript that answers as it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from completelook.contract import (
    BACKBONE,
    ENSEMBLES,
    PRODUCT_HEAD,
    SCENE_HEAD,
)
from completelook.golden import GoldenRecord, golden_image
from completelook.ranking import Calibration
from torch import nn

from completelook_build.errors import ExportError
from completelook_build.export.parity import TOLERANCE, Parity, check_parity, run_chain
from completelook_build.export.triton_config import repository_configs
from completelook_build.heads import ProductHead, SceneHead
from completelook_build.training import TrainedModel

# How far an embedding of the golden image may lie from the export's once other kernels, another
# batch or another device have rounded it in between.
GOLDEN_TOLERANCES = {"fp32": TOLERANCE, "bf16": 1e-2, "fp16": 1e-2}
VERSION = "1"


@dataclass(frozen=True)
class ExportReport:
    """What was exported and how far its answers are from the trained model's."""

    model_id: int
    precision: str
    parity: Parity


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
    Raises ExportError where the heads are an ablation, the files answer otherwise than the trained
    model or not with finite numbers, or the repository cannot be written.
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
        served = {name: torch.jit.load(str(path)) for name, path in written.items()}
        parity = check_parity(served, backbone, model.heads, model.heads_id)
        _write_configs(
            repository,
            repository_configs(
                model.config.categories,
                calibration,
                precision=precision,
                response_cache=response_cache,
            ),
        )
        _write_golden(repository, served, backbone.id ^ model.heads_id, precision)
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
