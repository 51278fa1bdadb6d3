"""Export: a trained model into Triton's repository, in a form that answers as it does."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from completelook.contract import (
    BACKBONE,
    ENSEMBLES,
    IMAGE_SIZE,
    PRODUCT_HEAD,
    SCENE_HEAD,
    STEPS,
)
from completelook.files import replacing_together, sha256
from completelook.golden import GoldenRecord, golden_image
from completelook.ranking import Calibration
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from completelook_build.backbones import PRECISIONS
from completelook_build.errors import ExportError
from completelook_build.export.formats import DEFAULT_FORMAT, FORMATS, Format, Run
from completelook_build.export.parity import TOLERANCES, Parity, check_parity, run_chain
from completelook_build.export.triton_config import repository_configs, sized
from completelook_build.heads import ProductHead, SceneHead
from completelook_build.training import TrainedModel

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
    form: str = DEFAULT_FORMAT,
    calibration: Calibration | None = None,
    response_cache: bool = False,
) -> ExportReport:
    """Write models in a form of `FORMATS`, configurations and the golden record into a repository.

    Nothing of an earlier export is replaced before the new one is on disk and has passed its parity
    check, and then all of it: an error on the way leaves the earlier export whole. A process that
    is killed between two renames leaves a repository that the record's digests give away.
    `response_cache` has Triton remember answers (see `repository_configs`).
    Raises ExportError where the heads are an ablation, the format has not that precision or lacks a
    package or a compiler, the files answer otherwise than the trained model or not with finite
    numbers, or the repository cannot be written.
    """
    _check_exportable(model, form, precision)
    format_ = FORMATS[form]
    backbone = model.backbone(precision)
    modules: dict[str, nn.Module] = {
        BACKBONE.name: backbone,
        SCENE_HEAD.name: SceneHead(model.heads, model.heads_id, PRECISIONS[precision]).eval(),
        PRODUCT_HEAD.name: ProductHead(model.heads, model.heads_id).eval(),
    }
    try:
        with replacing_together() as beside:
            files = _Files(repository, beside)
            served = {}
            for step in (sized(each, model.config) for each in STEPS):
                place = files.beside(f"{step.name}/{VERSION}/{format_.file}")
                format_.save(modules[step.name], step, place)
                served[step.name] = format_.load(place, step)
            parity = check_parity(
                served, backbone, model.heads, model.heads_id, TOLERANCES[precision]
            )
            configs = repository_configs(
                model.config,
                calibration,
                precision=precision,
                response_cache=response_cache,
                operations=count_operations(modules),
                form=form,
            )
            for name, text in configs.items():
                files.beside(f"{name}/config.pbtxt").write_text(text, encoding="utf-8")
            record = _golden_record(served, precision, files.digests())
            # Last, since it tells whoever reads the repository whether the others belong together.
            beside(GoldenRecord.path(repository)).write_text(record.as_json(), encoding="utf-8")
            for ensemble in ENSEMBLES:
                _keep_version_folder(repository / ensemble.name / VERSION)
        _remove_other_forms(repository, modules, format_)
    except OSError as error:
        raise ExportError(f"{repository}: cannot be written ({error})") from error
    return ExportReport(record.model_id, precision, parity)


def _check_exportable(model: TrainedModel, form: str, precision: str) -> None:
    if model.config.form != "full":
        raise ExportError(
            f"heads of form {model.config.form!r} are an ablation, made to be compared; only "
            "'full' can be exported"
        )
    known = FORMATS[form].precisions
    if precision not in known:
        raise ExportError(
            f"format {form} has no {precision}, its files would not answer as the model does: "
            f"expected {' or '.join(known)}, or --format {DEFAULT_FORMAT}"
        )


class _Counted(nn.Module):
    """A module of the chain that remembers what its last call took."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.operations = 0

    def forward(self, *inputs: torch.Tensor) -> Any:
        with FlopCounterMode(display=False) as counter:
            answer = self.module(*inputs)
        self.operations = counter.get_total_flops()
        return answer


def count_operations(modules: Mapping[str, nn.Module]) -> dict[str, int]:
    """The multiplications and additions of one picture, by the model's name.

    Those of convolutions and matrix products; what else there is hardly counts.
    """
    counted = {name: _Counted(module) for name, module in modules.items()}
    run_chain(counted, torch.zeros(1, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8))
    return {name: each.operations for name, each in counted.items()}


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


def _remove_other_forms(repository: Path, names: Iterable[str], written: Format) -> None:
    """What an earlier export left in another form is no longer of use."""
    for name in names:
        for other in FORMATS.values():
            if other.file != written.file:
                (repository / name / VERSION / other.file).unlink(missing_ok=True)


def _keep_version_folder(folder: Path) -> None:
    """An ensemble's version folder is empty, and git drops empty folders."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitkeep").touch()


def _golden_record(
    served: Mapping[str, Run], precision: str, digests: Mapping[str, str]
) -> GoldenRecord:
    """The golden image's embeddings, for `completelook doctor` to compare the server's with."""
    answer = run_chain(served, torch.from_numpy(golden_image()).unsqueeze(0))
    return GoldenRecord(
        model_id=int(answer["MODEL_ID"]),
        scene_embedding=tuple(answer["SCENE_EMBEDDING"][0].tolist()),
        product_embedding=tuple(answer["PRODUCT_EMBEDDING"][0].tolist()),
        tolerance=TOLERANCES[precision],
        files=digests,
    )
