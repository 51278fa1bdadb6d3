"""The connection to Triton: a gRPC channel and its retries, to wait for or to await."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.grpc.aio import InferenceServerClient as AsyncInferenceServerClient
from tritonclient.grpc.service_pb2 import ModelConfigResponse
from tritonclient.utils import InferenceServerException

from completelook.contract import Model, Tensor
from completelook.errors import ContractError, ServerError, UsageError
from completelook.triton.credentials import PLAIN, Credentials
from completelook.triton.failures import translated
from completelook.triton.retries import Attempts, RetryBudget

Answer = TypeVar("Answer")

_HOST_AND_PORT = re.compile(r"(?!https?://).+:\d+")

# Given options replace tritonclient's own, the unlimited message sizes included.
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Retries are this package's own: gRPC's cannot tell what UNAVAILABLE means.
    ("grpc.enable_retries", 0),
    # A connection that died without a word shows within 20 s: after 10 s of silence a ping goes
    # out, and may wait for 10 s, where gRPC would wait for a minute. Triton hangs up on a client
    # that pings an idle connection, so pings go out only during calls and at most two in a row.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
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

    def __init__(
        self,
        server: str,
        *,
        timeout_s: float,
        retries: bool = True,
        credentials: Credentials = PLAIN,
    ) -> None:
        if not _HOST_AND_PORT.fullmatch(server):
            raise UsageError(
                f"{server!r} is no server address: give Triton's gRPC endpoint as HOST:PORT, "
                "for example localhost:8001"
            )
        self.server = server
        self._timeout_s = timeout_s
        self._budget = RetryBudget(retries)
        self._channel_credentials = credentials.channel_credentials()
        self._metadata = credentials.metadata

    def _attempts(self) -> Attempts:
        return Attempts(self._budget, self._timeout_s)

    def _add_headers(self, request: Any) -> None:
        """As a plugin of tritonclient."""
        request.headers.update(self._metadata)

    def _translated(self, exc: InferenceServerException) -> ServerError:
        return translated(exc, self.server, self._timeout_s)

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
        elif not _is_batch_of_one(array, tensor):
            got = f"{array.dtype} {list(array.shape[1:])}"
        elif tensor.data_type == "FP32" and not np.isfinite(array).all():
            got = "values that are not finite"
        else:
            return array[0]  # type: ignore[no-any-return]
        raise ContractError(
            f"{model.name} at {self.server} gave {got} for {tensor.name}, expected {expected}: "
            "the server runs another kind of model, or a broken one; "
            f"`completelook doctor --server {self.server}` says more"
        )


class Connection(Wire):
    """A thread-safe gRPC channel to one Triton server.

    Making it raises UsageError for what is no address, every method ServerUnavailable,
    ServerOverloaded, ServerTimeout, ContractError or plain ServerError.
    Without `retries` the first refusal counts.
    """

    def __init__(
        self,
        server: str,
        *,
        timeout_s: float,
        retries: bool = True,
        credentials: Credentials = PLAIN,
    ) -> None:
        super().__init__(server, timeout_s=timeout_s, retries=retries, credentials=credentials)
        self._client = InferenceServerClient(
            server, creds=self._channel_credentials, channel_args=_CHANNEL_OPTIONS
        )
        self._client.register_plugin(self._add_headers)

    def _call(self, call: Callable[[float], Answer]) -> Answer:
        """A call's answer, given the seconds that it has; made again where that can help."""
        attempts = self._attempts()
        while True:
            try:
                answer = call(attempts.left_s)
            except InferenceServerException as exc:
                error = self._translated(exc)
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    raise error from exc
                time.sleep(pause_s)
            else:
                self._budget.earn()
                return answer

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._client.close()

    def infer(self, model: Model, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The model's outputs for one image [224, 224, 3], by name, without a batch dimension."""
        inputs = _infer_inputs(model, image)
        answer = self._call(
            lambda left_s: self._client.infer(model.name, inputs, client_timeout=left_s)
        )
        return self._outputs(answer, model)

    def server_version(self) -> str:
        """The server's name and version, such as `triton 2.51.0`."""
        metadata = self._call(
            lambda left_s: self._client.get_server_metadata(client_timeout=left_s)
        )
        return f"{metadata.name} {metadata.version}"

    def is_server_ready(self) -> bool:
        """Whether the server says that all its models are ready."""
        return bool(self._call(lambda left_s: self._client.is_server_ready(client_timeout=left_s)))

    def is_model_ready(self, name: str) -> bool:
        """Whether the server says that a model is ready; False as well for one it does not have."""
        return bool(
            self._call(lambda left_s: self._client.is_model_ready(name, client_timeout=left_s))
        )

    def model_tensors(self, name: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A model's inputs and outputs as the server declares them, without a batch dimension."""
        metadata = self._call(
            lambda left_s: self._client.get_model_metadata(name, client_timeout=left_s)
        )
        inputs, outputs = (
            tuple(Tensor(each.name, each.datatype, tuple(each.shape[1:])) for each in declared)
            for declared in (metadata.inputs, metadata.outputs)
        )
        return inputs, outputs

    def model_parameters(self, model_name: str) -> dict[str, str]:
        """The parameters in a model's configuration, their texts by key."""
        answer = self._call(
            lambda left_s: self._client.get_model_config(model_name, client_timeout=left_s)
        )
        return _parameter_texts(answer)


class AsyncConnection(Wire):
    """What services need of Connection, awaited; it belongs to the loop of its first question."""

    @cached_property
    def _client(self) -> AsyncInferenceServerClient:
        # Not before the first question: a channel belongs to the loop that runs when it is made.
        client = AsyncInferenceServerClient(
            self.server, creds=self._channel_credentials, channel_args=_CHANNEL_OPTIONS
        )
        client.register_plugin(self._add_headers)
        return client

    async def _call(self, call: Callable[[float], Awaitable[Answer]]) -> Answer:
        """See Connection._call."""
        attempts = self._attempts()
        while True:
            try:
                answer = await call(attempts.left_s)
            except InferenceServerException as exc:
                error = self._translated(exc)
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    raise error from exc
                await asyncio.sleep(pause_s)
            else:
                self._budget.earn()
                return answer

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._client.close()

    async def infer(self, model: Model, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The model's outputs for one image [224, 224, 3], by name, without a batch dimension."""
        inputs = _infer_inputs(model, image)
        answer = await self._call(
            lambda left_s: self._client.infer(model.name, inputs, client_timeout=left_s)
        )
        return self._outputs(answer, model)

    async def model_parameters(self, model_name: str) -> dict[str, str]:
        """The parameters in a model's configuration, their texts by key."""
        answer = await self._call(
            lambda left_s: self._client.get_model_config(model_name, client_timeout=left_s)
        )
        return _parameter_texts(answer)


def _infer_inputs(model: Model, image: NDArray[np.uint8]) -> list[InferInput]:
    """One image [224, 224, 3] as a model's input."""
    tensor = model.inputs[0]
    batch = image[np.newaxis]  # [1, 224, 224, 3]
    request = InferInput(tensor.name, batch.shape, tensor.data_type)
    request.set_data_from_numpy(batch)
    return [request]


def _parameter_texts(answer: ModelConfigResponse) -> dict[str, str]:
    return {key: str(value.string_value) for key, value in answer.config.parameters.items()}


def _is_batch_of_one(array: NDArray[Any], tensor: Tensor) -> bool:
    shape = (1, *tensor.shape)
    return (
        array.dtype == _NUMPY_TYPES[tensor.data_type]
        and array.ndim == len(shape)
        and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    )


_NUMPY_TYPES = {"UINT8": np.uint8, "INT64": np.int64, "FP32": np.float32}
