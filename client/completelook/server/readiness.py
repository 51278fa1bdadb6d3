"""When a server is really ready: inferences have answered.

Triton's own health endpoints go on saying yes when the process behind a model is dead.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from completelook.contract import EMBED_PRODUCT, EMBED_SCENE
from completelook.errors import EmbeddedServerError
from completelook.golden import GoldenRecord, golden_image
from completelook.server.processes import one_line

_INFERENCE_TIMEOUT_S = 120
_EXPORT_AGAIN = "run `completelook-build export` again"


def infer_zeros(address: str, models: Sequence[Any], check: Callable[[], None]) -> None:
    """Have each of the models that the server has loaded answer a request of zeros.

    Raises:
        EmbeddedServerError: a model fails; or what `check` raises, called before each of them.
    """
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    with InferenceServerClient(address) as client:
        for config in models:
            check()
            try:
                # `--exit-on-error=false` or explicit model control may have left a model out.
                if client.is_model_ready(config.name):
                    inputs = zero_inputs(config)
                    client.infer(config.name, inputs, client_timeout=_INFERENCE_TIMEOUT_S)
            except InferenceServerException as exc:
                raise EmbeddedServerError(
                    f"model '{config.name}' loads, but fails on a request of zeros: "
                    f"{one_line(exc.message())}"
                ) from exc


def infer_golden_image(address: str, record: GoldenRecord) -> None:
    """Have the server's models answer the golden image as the export did.

    Raises:
        EmbeddedServerError: they give another MODEL_ID or other embeddings, or fail.
    """
    from tritonclient.grpc import InferenceServerClient, InferInput
    from tritonclient.utils import InferenceServerException

    image = InferInput("IMAGE", [1, *golden_image().shape], "UINT8")
    image.set_data_from_numpy(golden_image()[np.newaxis])
    found: dict[str, Any] = {}
    with InferenceServerClient(address) as client:
        for model in (EMBED_SCENE, EMBED_PRODUCT):
            try:
                if not client.is_model_ready(model.name):
                    return
                answer = client.infer(model.name, [image], client_timeout=_INFERENCE_TIMEOUT_S)
            except InferenceServerException as exc:
                raise EmbeddedServerError(
                    f"model '{model.name}' fails on the golden image: {one_line(exc.message())}"
                ) from exc
            found |= {output.name: answer.as_numpy(output.name)[0] for output in model.outputs}
            if found["MODEL_ID"][0] != record.model_id:
                raise EmbeddedServerError(
                    f"model '{model.name}' is of MODEL_ID {found['MODEL_ID'][0]:016x}, but the "
                    f"export recorded {record.model_id:016x}: {_EXPORT_AGAIN}"
                )
    difference = record.largest_difference(found["SCENE_EMBEDDING"], found["PRODUCT_EMBEDDING"])
    if not difference <= record.tolerance:  # Written so that NaN fails.
        raise EmbeddedServerError(
            f"the golden image's embeddings differ by {difference:.1e} from those that the export "
            f"recorded, expected at most {record.tolerance:.0e}: {_EXPORT_AGAIN}"
        )


def server_version(address: str) -> str:
    """A ready server's name, and its version where it tells it."""
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    try:
        with InferenceServerClient(address) as client:
            metadata = client.get_server_metadata()
    except InferenceServerException:
        return "tritonserver"
    return f"{metadata.name} {metadata.version}"


def zero_inputs(config: Any) -> list[Any]:
    """The inputs of a request of one item, every number zero and every open dimension 1."""
    from tritonclient.grpc import InferInput
    from tritonclient.grpc.model_config_pb2 import DataType
    from tritonclient.utils import triton_to_np_dtype

    batch = [1] if config.max_batch_size > 0 else []
    inputs = []
    for tensor in config.input:
        data_type = DataType.Name(tensor.data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
        shape = batch + [max(size, 1) for size in tensor.dims]
        zero = b"" if data_type == "BYTES" else 0
        zeros = np.full(shape, zero, dtype=triton_to_np_dtype(data_type))
        inputs.append(InferInput(tensor.name, shape, data_type).set_data_from_numpy(zeros))
    return inputs
