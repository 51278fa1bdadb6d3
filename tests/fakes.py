"""A fake Triton at the network seam: real gRPC, embeddings that can be worked out by hand.

A picture of one color speaks through its red value r; e(k) is the unit vector along axis k % 128.

    product         f_p = e(r)
    scene           f_s = e(r)
    region i        f_i = e(i)
    category c      attends to regions 2c and 2c + 1, half and half

So d(s, p) for category c is 2 - [r_p = r_s] - [r_p is 2c or 2c + 1] / 2.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from completelook.catalog import write_catalog
from completelook.contract import (
    CALIBRATION_PARAMETER,
    CATEGORIES_PARAMETER,
    EMBEDDING_SIZE,
    ENSEMBLES,
    PRODUCT_HEAD,
    REGION_GRID,
    REGIONS,
    STEPS,
    Model,
    Tensor,
)
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

CATEGORIES = ("Home|Rugs", "Home|Lamps", "Home|Light|Lamps", "Garden|Chairs")
MODEL_ID = 0x1234
SIZES = {"FEATURE_MAP": 112, "POOLED": 1280}
MODELS = {model.name: model for model in (*STEPS, *ENSEMBLES)}


# Rug 3 in the scene of red value 3 has the distance 1, rugs 0 and 1 have 1.5, the others 2.
CALIBRATION = '{"distances": [1.0, 2.0], "compatibilities": [0.9, 0.1]}'


def axis(index: int) -> NDArray[np.float32]:
    """e(index), [128]."""
    return np.eye(EMBEDDING_SIZE, dtype=np.float32)[index % EMBEDDING_SIZE]


def picture(red: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A picture of one color."""
    return Image.new("RGB", size, (red, 0, 0))


def expected_distances(scene: int, product: int, category: int) -> tuple[float, float]:
    """Global and local distance between pictures given by their red values."""
    attended = product in (2 * category, 2 * category + 1)
    return 2.0 - 2.0 * (scene == product), 2.0 - 1.0 * attended


@dataclass
class Failure:
    """A status that some calls end with."""

    code: grpc.StatusCode
    details: str
    times: int


@dataclass
class FakeTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """What the fake serves, and what was asked of it; a test may change either at any time."""

    categories: tuple[str, ...] = CATEGORIES
    categories_text: str | None = None  # in place of the categories' JSON
    calibration_text: str | None = None  # the parameter is left out where there is none
    model_id: int = MODEL_ID
    product_model_id: int | None = None  # where it differs from the scenes'
    missing_models: set[str] = field(default_factory=set)
    ready: bool = True
    renamed_output: str | None = None
    product_head_pooled_size: int = 1280
    noise: float = 0.0  # added to every answer's embeddings
    gate: Barrier | None = None  # holds answers back until so many are in flight
    config_gate: Event | None = None  # holds configurations back until it is set
    failures: dict[str, Failure] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)  # answered, failed or cancelled
    headers: dict[str, str] = field(default_factory=dict)  # of the last call
    address: str = ""

    def fail(self, call: str, code: grpc.StatusCode, details: str, *, times: int = 1000) -> None:
        """Let the next calls of a kind, such as ModelInfer, end with a status."""
        self.failures[call] = Failure(code, details, times)

    @contextmanager
    def running(self, credentials: grpc.ServerCredentials | None = None) -> Iterator["FakeTriton"]:
        """Serve, with TLS where there are credentials."""
        server = grpc.server(ThreadPoolExecutor(32))
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)
        server.start()
        try:
            yield self
        finally:
            server.stop(grace=None).wait()

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        self._count("ServerMetadata", context)
        return messages.ServerMetadataResponse(name="fake", version="1.0")

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        self._count("ServerReady", context)
        return messages.ServerReadyResponse(ready=self.ready)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._count("ModelReady", context)
        return messages.ModelReadyResponse(ready=request.name not in self.missing_models)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._count("ModelMetadata", context)
        model = MODELS[request.name]
        answer = messages.ModelMetadataResponse(name=model.name)
        for declared, tensors in ((answer.inputs, model.inputs), (answer.outputs, model.outputs)):
            for tensor in tensors:
                name = "OTHER" if tensor.name == self.renamed_output else tensor.name
                shape = (-1, *self._shape(model, tensor))
                declared.add(name=name, datatype=tensor.data_type, shape=shape)
        return answer

    def _shape(self, model: Model, tensor: Tensor) -> tuple[int, ...]:
        """With the sizes that a backbone gives and heads take."""
        name = tensor.name.rpartition("__")[0]
        if name not in SIZES:
            return tensor.shape
        size = self.product_head_pooled_size if model == PRODUCT_HEAD else SIZES[name]
        return (size, *tensor.shape[1:])

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._count("ModelConfig", context)
        if self.config_gate is not None:
            self.config_gate.wait(timeout=10)
        answer = messages.ModelConfigResponse()
        answer.config.name = request.name
        text = self.categories_text
        text = json.dumps(self.categories) if text is None else text
        answer.config.parameters[CATEGORIES_PARAMETER].string_value = text
        if self.calibration_text is not None:
            parameter = answer.config.parameters[CALIBRATION_PARAMETER]
            parameter.string_value = self.calibration_text
        return answer

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._count("ModelInfer", context)
        if request.model_name in self.missing_models:
            details = f"Request for unknown model: '{request.model_name}' is not found"
            context.abort(grpc.StatusCode.NOT_FOUND, details)
        if self.gate is not None:
            self.gate.wait(timeout=10)
        image = np.frombuffer(request.raw_input_contents[0], np.uint8)
        model = MODELS[request.model_name]
        return self._answer(model, int(image.reshape(request.inputs[0].shape)[0, 0, 0, 0]))

    def _answer(self, model: Model, red: int) -> Any:
        values = self._values(red)
        if model.name == "embed_product" and self.product_model_id is not None:
            values["MODEL_ID"] = np.array([self.product_model_id], np.int64)
        answer = messages.ModelInferResponse(model_name=model.name)
        for tensor in model.outputs:
            value = values[tensor.name][np.newaxis]  # a batch of one
            name = "OTHER" if tensor.name == self.renamed_output else tensor.name
            answer.outputs.add(name=name, datatype=tensor.data_type, shape=value.shape)
            answer.raw_output_contents.append(value.tobytes())
        return answer

    def _values(self, red: int) -> dict[str, NDArray[Any]]:
        regions = np.stack([axis(index) for index in range(REGIONS)])  # [196, 128]
        attention = np.zeros((len(self.categories), REGIONS), np.float32)  # [C, 196]
        for row in range(len(self.categories)):
            attention[row, [2 * row, 2 * row + 1]] = 0.5
        return {
            "SCENE_EMBEDDING": axis(red) + np.float32(self.noise),
            "PRODUCT_EMBEDDING": axis(red) + np.float32(self.noise),
            "CONTEXT_EMBEDDINGS": attention @ regions,
            "MODEL_ID": np.array([self.model_id], np.int64),
            "ATTENTION": attention.reshape(-1, REGION_GRID, REGION_GRID),
            "REGION_EMBEDDINGS": regions,
        }

    def _count(self, call: str, context: Any) -> None:
        self.calls[call] += 1
        self.headers = dict(context.invocation_metadata())
        context.add_callback(lambda: self.ended.update([call]))
        failure = self.failures.get(call)
        if failure is not None and failure.times > 0:
            failure.times -= 1
            context.abort(failure.code, failure.details)


def make_catalog(
    path: Path, *, model_id: int = MODEL_ID, categories: tuple[str, ...] = CATEGORIES
) -> Path:
    """Products p0 to p5 of red values 0 to 5 in each of two categories; p5's picture is missing."""
    pictures = path.parent / "products"
    pictures.mkdir(exist_ok=True)
    for red in range(5):
        picture(red).save(pictures / f"{red}.png")
    reds = [*range(6), *range(6)]
    rows = [("rug", categories[0])] * 6 + [("chair", categories[-1])] * 6
    products = pa.table(
        {
            "id": [f"{kind}-{red}" for (kind, _), red in zip(rows, reds, strict=True)],
            "category": [category for _, category in rows],
            "image": [str(pictures / f"{red}.png") for red in reds],
            "name": [f"The {kind} <{red}>" for (kind, _), red in zip(rows, reds, strict=True)],
        }
    )
    embeddings = np.stack([axis(red) for red in reds])  # [12, 128]
    write_catalog(path, products, embeddings, model_id=model_id, categories=categories)
    return path
