"""What stands in a model repository, read before a server is started on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from completelook.errors import EmbeddedServerError

_WAY_OUT = "run `completelook-build export`, or name another one with --model-repository"
TORCHSCRIPT, AOTI, ONNX = "pytorch", "torch_aoti", "onnxruntime"
_MODEL_FILES = {TORCHSCRIPT: "model.pt", AOTI: "model.pt2", ONNX: "model.onnx"}
_PLATFORMS = {"pytorch_libtorch": TORCHSCRIPT, "torch_aoti": AOTI, "onnxruntime_onnx": ONNX}


def read_repository(folder: Path) -> list[Any]:
    """Read the configurations of all models, as protobuf messages `ModelConfig`.

    Raises:
        EmbeddedServerError: the folder is missing or empty, a configuration cannot be parsed, or a
            model of the export's has no file or another than the export wrote.
    """
    if not folder.is_dir():
        raise EmbeddedServerError(f"model repository {folder} is not a folder: {_WAY_OUT}")
    configs = [_read_config(path) for path in sorted(folder.glob("*/config.pbtxt"))]
    if not configs:
        raise EmbeddedServerError(
            f"model repository {folder} holds no model, no */config.pbtxt: {_WAY_OUT}"
        )
    for config in configs:
        file_name = config.default_model_filename or _MODEL_FILES.get(runtime_of(config))
        if file_name:
            _check_model_file(folder / config.name, file_name)
    _check_export(folder)
    return configs


def runtime_of(config: Any) -> str:
    """What runs a model: the name of Triton's backend, or of the platform within it."""
    return str(_PLATFORMS.get(config.platform, config.backend))


def entry_models(configs: Sequence[Any]) -> list[Any]:
    """The models that a client calls: the ensembles, or all where there is no ensemble."""
    ensembles = [config for config in configs if config.platform == "ensemble"]
    return ensembles or list(configs)


def _read_config(path: Path) -> Any:
    # Imported here: it takes a third of a second, and importing this package must be free.
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as exc:
        raise EmbeddedServerError(f"{path} is not a Triton model configuration: {exc}") from exc
    config.name = config.name or path.parent.name
    return config


def _check_model_file(folder: Path, file_name: str) -> None:
    if not any(file.parent.name.isdigit() for file in folder.glob(f"*/{file_name}")):
        raise EmbeddedServerError(
            f"model '{folder.name}' has no {file_name} (there is no {folder}/1/{file_name}): "
            "run `completelook-build export`"
        )


def _check_export(folder: Path) -> None:
    """Refuse weights that are not the export's: damaged, or of an export that was killed half-way.

    A configuration may be changed by hand: `doctor` tells which ones were.
    """
    # Imported here: it takes NumPy, and importing this package must be free.
    from completelook.golden import GoldenRecord

    record = GoldenRecord.read(folder)
    changed = [] if record is None else record.changed_files(folder)
    weights = [name for name in changed if not name.endswith("config.pbtxt")]
    if weights:
        raise EmbeddedServerError(
            f"model repository {folder}: {', '.join(weights)} not as the export wrote "
            f"{'it' if len(weights) == 1 else 'them'} (damaged, or an export that was cut off): "
            "run `completelook-build export` again"
        )
