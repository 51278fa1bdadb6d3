"""The doctor: whether a server and this client fit together, one finding at a time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np

from completelook.catalog import format_model_id
from completelook.clients.client import CompleteLook
from completelook.clients.served_model import Configuration
from completelook.concurrency import map_in_flight
from completelook.contract import (
    BACKBONE,
    EMBED_PRODUCT,
    EMBED_SCENE,
    ENSEMBLES,
    EXPLAIN_SCENE,
    REGIONS,
    STEPS,
    Model,
    Tensor,
)
from completelook.errors import CompleteLookError, ContractError, UsageError
from completelook.golden import GoldenRecord, golden_image
from completelook.triton import PLAIN, Connection, Credentials, ProductEmbedding, SceneEmbedding

_TOLERANCE = 1e-4
_IN_FLIGHT = 4


@dataclass(frozen=True)
class Check:
    """One thing the doctor looked at: what was found, or what is wrong and how to mend it."""

    subject: str
    passed: bool
    finding: str


@dataclass(frozen=True, eq=False)
class _Answers:
    """What the server says of the golden image."""

    scene: SceneEmbedding
    explained: SceneEmbedding
    product: ProductEmbedding


def diagnose(
    server: str,
    *,
    model_repository: Path,
    timeout_s: float = 30.0,
    credentials: Credentials = PLAIN,
) -> Iterator[Check]:
    """Examine a server from the outside in, and stop where nothing further can be examined."""
    yield Check("client", True, _versions())
    try:
        connection = Connection(server, timeout_s=timeout_s, credentials=credentials)
        look = CompleteLook(server, timeout_s=timeout_s, credentials=credentials)
    except UsageError as exc:
        yield Check("server", False, str(exc))
        return
    with closing(connection), look:
        yield from _diagnose(connection, look, model_repository)


def _diagnose(connection: Connection, look: CompleteLook, repository: Path) -> Iterator[Check]:
    reachable = _check("server", lambda: f"{connection.server_version()} at {connection.server}")
    yield reachable
    if not reachable.passed:
        return
    yield _check("ready", partial(_readiness, connection))
    models = [
        _check(f"model {model.name}", partial(_contract_of, connection, model))
        for model in (*STEPS, *ENSEMBLES)
    ]
    yield from models
    if all(check.passed for check in models):
        yield _check("backbone sizes", partial(_backbone_sizes, connection))
    yield _check("categories", partial(_categories, connection))
    if all(check.passed for check in models):
        yield from _inference_checks(look, repository)


def _inference_checks(look: CompleteLook, repository: Path) -> Iterator[Check]:
    image = golden_image()
    try:
        answers = _Answers(
            look.embed_scene(image),
            look.embed_scene(image, regions=True),
            look.embed_product(image),
        )
        record = GoldenRecord.read(repository)
    except CompleteLookError as exc:
        yield Check("golden image", False, str(exc))
        return
    tolerance = _TOLERANCE if record is None else record.tolerance
    yield _check("model id", partial(_one_model_id, answers))
    yield _check("golden image", partial(_consistency, answers, tolerance))
    yield _check("batching", partial(_batching, look, tolerance))
    yield _check("export", partial(_comparison, answers, record, repository))


def _check(subject: str, examine: Callable[[], str]) -> Check:
    try:
        return Check(subject, True, examine())
    except CompleteLookError as exc:
        return Check(subject, False, str(exc))


def _versions() -> str:
    packages = ("completelook", "tritonclient", "grpcio", "numpy")
    return ", ".join(f"{package} {version(package)}" for package in packages)


def _readiness(connection: Connection) -> str:
    if connection.is_server_ready():
        return "the server says that it and all its models are ready"
    raise ContractError(
        "the server says that it is not ready: it is still loading, or a model failed to load; "
        "its log says which"
    )


def _contract_of(connection: Connection, model: Model) -> str:
    if not connection.is_model_ready(model.name):
        raise ContractError(
            "not there or not ready: export it with `completelook-build export` and restart the "
            "server on that model repository; the server's log says why a model fails to load"
        )
    declared = _tensors_of(connection, model)
    for got, expected in zip(declared, (model.inputs, model.outputs), strict=True):
        _require_tensors(got, expected)
    return f"ready; {len(model.inputs)} in, {len(model.outputs)} out, as agreed"


def _tensors_of(connection: Connection, model: Model) -> tuple[tuple[Tensor, ...], ...]:
    """A model's inputs and outputs; those of a package of AOTInductor are named by their places."""
    declared = connection.model_tensors(model.name)
    kinds = zip(declared, (model.inputs, model.outputs), ("INPUT", "OUTPUT"), strict=True)
    return tuple(
        tuple(replace(tensor, name=by_place.get(tensor.name, tensor.name)) for tensor in got)
        for got, agreed, kind in kinds
        for by_place in [{f"{kind}__{place}": t.name for place, t in enumerate(agreed)}]
    )


def _require_tensors(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    found = {tensor.name: tensor for tensor in got}
    for tensor in expected:
        other = found.pop(tensor.name, None)
        if other is None or other.data_type != tensor.data_type or not _same_shape(other, tensor):
            raise ContractError(
                f"the server declares {_described(other)}, expected {_described(tensor)}: serve "
                "the config.pbtxt files that came with this version of completelook"
            )
    if found:
        raise ContractError(
            f"the server declares {', '.join(found)} as well, which this version does not know: "
            "serve the config.pbtxt files that came with this version of completelook"
        )


def _same_shape(got: Tensor, expected: Tensor) -> bool:
    return len(got.shape) == len(expected.shape) and all(
        want in (-1, size) for want, size in zip(expected.shape, got.shape, strict=True)
    )


def _described(tensor: Tensor | None) -> str:
    return f"{tensor.name} {tensor.data_type} {list(tensor.shape)}" if tensor else "nothing"


def _backbone_sizes(connection: Connection) -> str:
    """What the contract leaves open: any sizes will do that backbone and heads agree on."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for model in STEPS:
        for tensor in chain(*_tensors_of(connection, model)):
            shapes = found.setdefault(tensor.name.rpartition("__")[0], {})
            shapes[model.name] = tensor.shape
    shared = {name: found[name] for name in ("FEATURE_MAP", "POOLED")}
    for name, shapes in shared.items():
        if len(set(shapes.values())) > 1:
            listed = ", ".join(f"{list(shape)} in {model}" for model, shape in shapes.items())
            raise ContractError(
                f"{name} is {listed}: they come from exports of different backbones; export all "
                "models together with `completelook-build export` and restart the server"
            )
    (channels, *_), (pooled_size,) = (shapes[BACKBONE.name] for shapes in shared.values())
    return f"regions of {channels} channels, pooled vectors of {pooled_size}"


def _categories(connection: Connection) -> str:
    parameters = connection.model_parameters(EMBED_SCENE.name)
    names = Configuration(connection.server, parameters).categories
    return f"{len(names)}: {', '.join(names)}"


def _one_model_id(answers: _Answers) -> str:
    ids = {
        EMBED_SCENE.name: answers.scene.model_id,
        EXPLAIN_SCENE.name: answers.explained.model_id,
        EMBED_PRODUCT.name: answers.product.model_id,
    }
    if len(set(ids.values())) == 1:
        return f"{format_model_id(answers.scene.model_id)}, the same for scenes and products"
    listed = ", ".join(f"{name} {format_model_id(model_id)}" for name, model_id in ids.items())
    raise ContractError(
        f"scenes and products are embedded by different weights ({listed}): export all models "
        "together with `completelook-build export` and restart the server"
    )


def _consistency(answers: _Answers, tolerance: float) -> str:
    scene, explained = answers.scene, answers.explained
    if explained.attention is None or explained.regions is None:
        raise ContractError(f"{EXPLAIN_SCENE.name} gave no attention: export the model again")
    attention = explained.attention.reshape(-1, REGIONS)  # [C, 196]
    differences = {
        "length of an embedding from 1": np.abs(
            np.linalg.norm([scene.embedding, answers.product.embedding], axis=1) - 1
        ),
        "length of a region's embedding from 1": np.abs(
            np.linalg.norm(explained.regions, axis=1) - 1
        ),
        "sum of an attention map from 1": np.abs(attention.sum(axis=1) - 1),
        "contexts from the attended regions": np.abs(
            attention @ explained.regions - explained.contexts
        ),
        "explained from plain contexts": np.abs(explained.contexts - scene.contexts),
    }
    largest = {what: float(difference.max()) for what, difference in differences.items()}
    for what, difference in largest.items():
        _require_close(f"the {what}", difference, tolerance)
    return f"unit lengths, attention and contexts agree within {max(largest.values()):.1e}"


def _batching(look: CompleteLook, tolerance: float) -> str:
    """Different pictures, so that answers swapped within a batch show."""
    images = [np.roll(golden_image(), 50 * shift, axis=1) for shift in range(_IN_FLIGHT)]
    alone = [look.embed_product(image).embedding for image in images]
    together = map_in_flight(look.embed_product, images, in_flight=_IN_FLIGHT)
    difference = max(
        float(np.abs(one - other.embedding).max())
        for one, other in zip(alone, together, strict=True)
    )
    _require_close("an answer alone from one in company", difference, tolerance)
    return f"the same alone and with {_IN_FLIGHT} in flight within {difference:.1e}"


def _comparison(answers: _Answers, record: GoldenRecord | None, repository: Path) -> str:
    if record is None:
        return f"not compared: {repository} holds no record of an export (--model-repository DIR)"
    if record.model_id != answers.scene.model_id:
        raise ContractError(
            f"the server runs model {format_model_id(answers.scene.model_id)}, but {repository} "
            f"holds {format_model_id(record.model_id)}: restart the server on {repository}, or "
            "name its own repository with --model-repository DIR"
        )
    difference = record.largest_difference(answers.scene.embedding, answers.product.embedding)
    _require_close("the served embeddings from the exported ones", difference, record.tolerance)
    changed = record.changed_files(repository)
    if any(not name.endswith("config.pbtxt") for name in changed):
        raise ContractError(
            f"{repository} is no longer as the export wrote it ({', '.join(changed)}): export the "
            "model again with `completelook-build export` and restart the server"
        )
    note = f"; changed by hand since: {', '.join(changed)}" if changed else ""
    return f"the golden image as {repository} recorded it, within {difference:.1e}{note}"


def _require_close(what: str, difference: float, tolerance: float) -> None:
    # Written so that NaN fails.
    if not difference <= tolerance:
        raise ContractError(
            f"difference of {what} is {difference:.1e}, expected at most {tolerance:.0e}: "
            "export the model again with `completelook-build export` and restart the server"
        )
