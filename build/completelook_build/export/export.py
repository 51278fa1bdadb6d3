"""Export: a trained model into Triton's repository, as TorchScript that answers as it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from completelook.contract import (
    BACKBONE,
    ENSEMBLES,
    PRODUCT_HEAD,
    SCENE_HEAD,
)
from completelook.files import replacing_together, sha256
from completelook.golden import GoldenRecord, golden_image
from completelook.ranking import Calibration
from torch import nn

from completelook_build.backbones import Backbone
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

    Nothing of an earlier export is replaced before the new one is on disk and has passed its parity
    check, and then all of it: an error on the way leaves the earlier export whole. A process that
    is killed between two renames leaves a repository that the record's digests give away.
    `response_cache` has Triton remember answers (see `repository_configs`).
    Raises ExportError where the heads are an ablation, the files answer otherwise than the trained
    model or not with finite numbers, or the repository cannot be written.
    """
    if model.config.form != "full":
        raise ExportError(
            f"heads of form {model.config.form!r} are an ablation, made to be compared; only "
            "'full' can be exported"
        )
    backbone = model.backbone(precision)
    modules: dict[str, nn.Module] = {
        BACKBONE.name: backbone,
        SCENE_HEAD.name: SceneHead(model.heads, model.heads_id).eval(),
        PRODUCT_HEAD.name: ProductHead(model.heads, model.heads_id).eval(),
    }
    try:
        with replacing_together() as beside:
            files = _Files(repository, beside)
            for name, module in modules.items():
                _save_script(module, files.beside(f"{name}/{VERSION}/model.pt"))
            served = {
                name: torch.jit.load(files.beside(f"{name}/{VERSION}/model.pt")) for name in modules
            }
            parity = check_parity(served, backbone, model.heads, model.heads_id)
            configs = repository_configs(
                model.config,
                calibration,
                precision=precision,
                response_cache=response_cache,
            )
            for name, text in configs.items():
                files.beside(f"{name}/config.pbtxt").write_text(text, encoding="utf-8")
            record = _golden_record(served, precision, files.digests())
            # Last, since it tells whoever reads the repository whether the others belong together.
            beside(GoldenRecord.path(repository)).write_text(record.as_json(), encoding="utf-8")
            for ensemble in ENSEMBLES:
                _keep_version_folder(repository / ensemble.name / VERSION)
    except OSError as error:
        raise ExportError(f"{repository}: cannot be written ({error})") from error
    return ExportReport(record.model_id, precision, parity)


class _Files:
    """The files of an export beside the places that they will take together."""

    def __init__(self, repository: Path, beside: Callable[[Path], Path]) -> None:
        self._repository = repository
        self._beside = beside
        self._places: dict[str, Path] = {}

    def beside(self, name: str) -> Path:
        """Where to write the file of a path within the repository."""
        return self._places.setdefault(name, self._beside(self._repository / name))

    def digests(self) -> dict[str, str]:
        """The SHA-256 of every file so far, by path within the repository."""
        return {name: sha256(place) for name, place in self._places.items()}


def _save_script(module: nn.Module, path: Path) -> None:
    script = module.script() if isinstance(module, Backbone) else torch.jit.script(module)
    try:
        script.save(str(path))
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(str(error).splitlines()[0]) from error


def _keep_version_folder(folder: Path) -> None:
    """An ensemble's version folder is empty, and git drops empty folders."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitkeep").touch()


def _golden_record(
    served: Mapping[str, nn.Module], precision: str, digests: Mapping[str, str]
) -> GoldenRecord:
    """The golden image's embeddings, for `completelook doctor` to compare the server's with."""
    answer = run_chain(served, torch.from_numpy(golden_image()).unsqueeze(0))
    return GoldenRecord(
        model_id=int(answer["MODEL_ID"]),
        scene_embedding=tuple(answer["SCENE_EMBEDDING"][0].tolist()),
        product_embedding=tuple(answer["PRODUCT_EMBEDDING"][0].tolist()),
        tolerance=GOLDEN_TOLERANCES[precision],
        files=digests,
    )
