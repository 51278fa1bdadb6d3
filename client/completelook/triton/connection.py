"""The connection to Triton: a gRPC channel, its retries, its failures as this package's errors."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.grpc.service_pb2 import ModelConfigResponse
from tritonclient.utils import InferenceServerException

from completelook.contract import Model, Tensor
from completelook.errors import ContractError, ServerError, ServerOverloaded, ServerUnavailable

_HOST_AND_PORT = re.compile(r"(?!https?://).+:\d+")

# gRPC retries by itself, with jitter, and stops while more than about one call in ten fails. A
# request is kept for a retry only while it fits gRPC's buffer of 256 KiB; one picture is 147 KiB.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService", "method": "ModelInfer"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}

# Given options replace tritonclient's own, the unlimited message sizes included.
CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A connection that died without a word shows within half a minute. Triton hangs up on a client
    # that pings an idle connection, so pings go out only during calls and at most two in a row.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 2),
    # The first is also the patience with something that accepts and never answers. The last keeps
    # a restarted server from being shunned for gRPC's two minutes.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class Wire:
    """What every connection to one Triton server shares: its address, its words, its failures."""

    def __init__(self, server: str, *, timeout_s: float) -> None:
        if not _HOST_AND_PORT.fullmatch(server):
            raise ServerUnavailable(
                f"{server!r} is no server address: give Triton's gRPC endpoint as HOST:PORT, "
                "for example localhost:8001"
            )
        self.server = server
        self._timeout_s = timeout_s

    def _outputs(self, answer: InferResult, model: Model) -> dict[str, NDArray[Any]]:
        """The model's outputs by name, without a batch dimension."""
        return {
            output.name: self._checked(answer.as_numpy(output.name), output, model)
            for output in model.outputs
        }

    def _checked(self, array: NDArray[Any] | None, tensor: Tensor, model: Model) -> NDArray[Any]:
        expected = f"{tensor.data_type} {list(tensor.shape)}"
        if array is None:
            got = "nothing"
        elif _is_batch_of_one(array, tensor):
            return array[0]  # type: ignore[no-any-return]
        else:
            got = f"{array.dtype} {list(array.shape[1:])}"
        raise ContractError(
            f"{model.name} at {self.server} gave {got} for {tensor.name}, expected {expected}: "
            "the server runs another kind of model; "
            f"`completelook doctor --server {self.server}` says more"
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as exc:
            raise _translated(exc, self.server, self._timeout_s) from exc


class Connection(Wire):
    """A thread-safe gRPC channel to one Triton server.

    Every method raises ServerUnavailable, ServerOverloaded, ContractError or plain ServerError.
    Without `retries` the first refusal counts, as a load test wants it.
    """

    def __init__(self, server: str, *, timeout_s: float, retries: bool = True) -> None:
        super().__init__(server, timeout_s=timeout_s)
        options = [*CHANNEL_OPTIONS, ("grpc.enable_retries", int(retries))]
        self._client = InferenceServerClient(server, channel_args=options)

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._client.close()

    def infer(self, model: Model, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The model's outputs for one image [224, 224, 3], by name, without a batch dimension."""
        inputs = infer_inputs(model, image)
        with self._failures():
            answer = self._client.infer(model.name, inputs, client_timeout=self._timeout_s)
        return self._outputs(answer, model)

    def server_version(self) -> str:
        """The server's name and version, such as `triton 2.51.0`."""
        with self._failures():
            metadata = self._client.get_server_metadata(client_timeout=self._timeout_s)
        return f"{metadata.name} {metadata.version}"

    def is_server_ready(self) -> bool:
        """Whether the server says that all its models are ready."""
        with self._failures():
            return bool(self._client.is_server_ready(client_timeout=self._timeout_s))

    def is_model_ready(self, name: str) -> bool:
        """Whether the server says that a model is ready; False as well for one it does not have."""
        with self._failures():
            return bool(self._client.is_model_ready(name, client_timeout=self._timeout_s))

    def model_tensors(self, name: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A model's inputs and outputs as the server declares them, without a batch dimension."""
        with self._failures():
            metadata = self._client.get_model_metadata(name, client_timeout=self._timeout_s)
        inputs, outputs = (
            tuple(Tensor(each.name, each.datatype, tuple(each.shape[1:])) for each in declared)
            for declared in (metadata.inputs, metadata.outputs)
        )
        return inputs, outputs

    def model_parameter(self, model_name: str, key: str) -> str | None:
        """The text of a parameter in a model's configuration, None when it is not there."""
        with self._failures():
            answer = self._client.get_model_config(model_name, client_timeout=self._timeout_s)
        return parameter_text(answer, key)


def infer_inputs(model: Model, image: NDArray[np.uint8]) -> list[InferInput]:
    """One image [224, 224, 3] as a model's input."""
    tensor = model.inputs[0]
    batch = image[np.newaxis]  # [1, 224, 224, 3]
    request = InferInput(tensor.name, batch.shape, tensor.data_type)
    request.set_data_from_numpy(batch)
    return [request]


def parameter_text(answer: ModelConfigResponse, key: str) -> str | None:
    """The text of a parameter in a model's configuration, None when it is not there."""
    parameters = answer.config.parameters
    return str(parameters[key].string_value) if key in parameters else None


def _is_batch_of_one(array: NDArray[Any], tensor: Tensor) -> bool:
    shape = (1, *tensor.shape)
    return (
        array.dtype == _NUMPY_TYPES[tensor.data_type]
        and array.ndim == len(shape)
        and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    )


_NUMPY_TYPES = {"UINT8": np.uint8, "INT64": np.int64, "FP32": np.float32}


_BY_STATUS: dict[str, tuple[type[ServerError], str]] = {
    "DEADLINE_EXCEEDED": (
        ServerOverloaded,
        "the server at {server} did not answer within {timeout_s:g} s: it is overloaded or stuck; "
        "send less at once, or allow it more time with timeout_s",
    ),
    "UNIMPLEMENTED": (
        ServerUnavailable,
        "what answers at {server} speaks gRPC but is not Triton ({detail}): give the address of "
        "Triton's gRPC endpoint, port 8001 by default",
    ),
    "NOT_FOUND": (
        ContractError,
        "the server at {server} does not have the model ready ({detail}): export one with "
        "`completelook-build export` and serve that model repository",
    ),
    "INVALID_ARGUMENT": (
        ContractError,
        "the model at {server} refused the request ({detail}): it is another kind of model; "
        "`completelook doctor --server {server}` says more",
    ),
}


def _translated(exc: InferenceServerException, server: str, timeout_s: float) -> ServerError:
    status = str(exc.status()).removeprefix("StatusCode.")
    detail = " ".join(str(exc.message()).split())
    if status == "UNAVAILABLE":
        return _unavailable(detail, server)
    if status in _BY_STATUS:
        error, message = _BY_STATUS[status]
        return error(message.format(server=server, detail=detail, timeout_s=timeout_s))
    if "is not healthy" in detail:
        return ServerError(
            f"a model process of the server at {server} has died and stays dead ({detail}): "
            "restart the server"
        )
    return ServerError(
        f"the server at {server} failed with {status}: {detail}; its own log says more"
    )


# Triton's UNAVAILABLE means many things, and only its text tells them apart.
_OVERLOAD = ("Exceeds maximum queue size", "Request timeout expired")
_NOT_GRPC = ("SETTINGS", "HTTP/2", "Socket closed", "reset by peer", "http1.x")


def _unavailable(detail: str, server: str) -> ServerError:
    if any(text in detail for text in _OVERLOAD):
        return ServerOverloaded(
            f"the server at {server} is overloaded and refused the request ({detail}): "
            "send less at once, or try again later"
        )
    if "protocol is restricted" in detail:
        return ServerError(
            f"the server at {server} does not answer this question to anyone ({detail}): "
            "start it without a restriction on model-config, health, metadata and inference"
        )
    if "resolving" in detail:
        return ServerUnavailable(
            f"the host of {server} cannot be found: check the name, and give HOST:PORT"
        )
    if "failed to connect" in detail and any(text in detail for text in _NOT_GRPC):
        return ServerUnavailable(
            f"what answers at {server} does not speak gRPC: give Triton's gRPC port, 8001 by "
            "default, not its HTTP port 8000 or its metrics port 8002"
        )
    if "failed to connect" in detail:
        return ServerUnavailable(
            f"nothing answers at {server}: start a server with `completelook serve`, "
            "or name another one with --server HOST:PORT"
        )
    return ServerUnavailable(
        f"the connection to {server} broke ({detail}): see whether the server still runs"
    )
