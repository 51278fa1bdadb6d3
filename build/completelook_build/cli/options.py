"""Options that several commands share."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from completelook_build.data import Dataset

BackboneOption = Annotated[
    str,
    typer.Option(
        help="resnet50 (the paper's), efficientnet-lite0, -lite1 or -lite2, timm:NAME, "
        "timm:NAME@FILE, a resnet50 state dict's file, or random:SEED (docs/backbones.md)."
    ),
]
ModelOption = Annotated[Path, typer.Option("--model", help="A trained model's folder.")]
TrainedScenesOption = Annotated[
    bool,
    typer.Option("--trained-scenes", help="Take scenes that the model was trained on, too."),
]

_DATASET_OPTIONS = {
    "data": "The data set: DIR/pairs.jsonl, categories.json, images/, maybe splits.json.",
    "pairs": "JSON lines of product, scene, bbox, in place of the folder's.",
    "categories": "JSON map of product to category, in place of the folder's.",
    "images": "Folder of pictures named after their ids, in place of the folder's.",
    "splits": "JSON lists of scenes: train, validation, test. By a hash if not given.",
    "features": "Feature cache folder; beside the pairs if not given.",
}


def dataset_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name a data set in place of its parameter `dataset`.

    The parameter's default, None, makes them optional.
    """
    signature = inspect.signature(command)
    required = signature.parameters["dataset"].default is inspect.Parameter.empty

    @wraps(command)
    def with_dataset(**arguments: Any) -> None:
        parts = {name: arguments.pop(name) for name in _DATASET_OPTIONS}
        given = {name: path for name, path in parts.items() if path is not None}
        command(dataset=_dataset(given) if given or required else None, **arguments)

    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, typer.Option(f"--{name}", help=text)],
        )
        for name, text in _DATASET_OPTIONS.items()
    ]
    others = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "dataset"
    ]
    parameters = [*options, *others]
    with_dataset.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_dataset.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_dataset


def _dataset(given: dict[str, Path]) -> "Dataset":
    from completelook_build.data import Dataset

    folder = given.pop("data", None)
    if folder is not None:
        return Dataset.of(folder, **given)
    if not {"pairs", "categories", "images"} <= given.keys():
        raise typer.BadParameter(
            "name the data set: --data DIR, or --pairs FILE --categories FILE --images DIR"
        )
    return Dataset(**{"features": given["pairs"].with_name("features"), **given})
