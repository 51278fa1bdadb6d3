"""The config.pbtxt of every model in the repository, from the contract of `completelook.contract`.

The files are the production ones: a GPU container and the embedded server read the same. They are
committed with the showroom's category table and no calibration; an export writes its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from completelook.contract import (
    BACKBONE,
    CALIBRATION_PARAMETER,
    CATEGORIES_PARAMETER,
    EMBED_PRODUCT,
    EMBED_SCENE,
    EXPLAIN_SCENE,
    PRODUCT_HEAD,
    REGION_GRID,
    SCENE_HEAD,
    Model,
    Tensor,
)
from completelook.ranking import Calibration

from completelook_build.heads import HeadsConfig


@dataclass(frozen=True)
class Batching:
    """How many images a call of the backbone takes, how many calls run, how many requests wait."""

    max_batch_size: int
    instances: int
    queue_size: int


# BF16 is for CPUs, whose throughput hardly grows beyond a batch of 2: a large one would only make
# requests wait for each other. While one of two calls waits for its data, the other computes.
BATCHING: Mapping[str, Batching] = {
    "fp32": Batching(max_batch_size=32, instances=1, queue_size=32),
    "bf16": Batching(max_batch_size=4, instances=2, queue_size=64),
    "fp16": Batching(max_batch_size=32, instances=1, queue_size=64),
}

_GENERATED = (
    "# Written by `completelook-build export`; change completelook_build/export/triton_config.py.\n"
)


def _backbone_batching(queue_size: int) -> str:
    return f"""\
dynamic_batching {{
  # Paid once per request, here alone: what leaves the backbone together reaches the heads together.
  max_queue_delay_microseconds: 2000
  # Overload is refused here, before any work is spent on it.
  default_queue_policy {{
    max_queue_size: {queue_size}
    timeout_action: REJECT
    default_timeout_microseconds: 5000000
  }}
}}
"""


_HEAD_BATCHING = """\
dynamic_batching {
  # Never smaller than a backbone batch per instance, or finished backbone work is thrown away.
  default_queue_policy {
    max_queue_size: 256
  }
}
"""


_RESPONSE_CACHE = """\
# Only here, where every output is always asked for: the cache does not tell requests apart by the
# outputs that they ask for. It outlives a model's reload: restart the server after an export.
response_cache { enable: true }

"""


def repository_configs(
    heads: HeadsConfig,
    calibration: Calibration | None = None,
    *,
    precision: str = "fp32",
    response_cache: bool = False,
) -> Mapping[str, str]:
    """The text of each model's config.pbtxt, by the model's name.

    The sizes of the tensors between backbone and heads are those that the heads were made for.
    With `response_cache` Triton answers a scene that it has embedded before from memory. Its key is
    the model, its version and the inputs, and nothing else, which is a trap in two ways:

    - An answer to a request for some of the outputs is what a later request for all of them gets,
      as if the others did not exist. So it is on for `embed_scene` alone, all of whose outputs this
      package always asks for; on the backbone, `embed_scene` would break after an `embed_product`
      of the same picture. A client of one's own must ask for all outputs, too.
    - An answer survives the reload of a model and comes with the old MODEL_ID. Roll out new weights
      by restarting the server.
    """
    batching, size = BATCHING[precision], BATCHING[precision].max_batch_size
    parameters = _parameters(heads.categories, calibration)
    scene_parameters = parameters + _RESPONSE_CACHE if response_cache else parameters
    return {
        BACKBONE.name: _torchscript(
            _sized(BACKBONE, heads),
            size,
            _backbone_batching(batching.queue_size),
            batching.instances,
        ),
        SCENE_HEAD.name: _torchscript(_sized(SCENE_HEAD, heads), size, _HEAD_BATCHING),
        PRODUCT_HEAD.name: _torchscript(_sized(PRODUCT_HEAD, heads), size, _HEAD_BATCHING),
        EMBED_SCENE.name: _ensemble(EMBED_SCENE, SCENE_HEAD, size, scene_parameters),
        EXPLAIN_SCENE.name: _ensemble(EXPLAIN_SCENE, SCENE_HEAD, size, parameters),
        EMBED_PRODUCT.name: _ensemble(EMBED_PRODUCT, PRODUCT_HEAD, size, parameters),
    }


def _sized(model: Model, heads: HeadsConfig) -> Model:
    """A model of the contract with the sizes that follow from the backbone."""
    shapes = {
        "FEATURE_MAP": (heads.channels, REGION_GRID, REGION_GRID),
        "POOLED": (heads.pooled_size,),
    }

    def sized(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            replace(tensor, shape=shapes.get(_plain(tensor.name), tensor.shape))
            for tensor in tensors
        )

    return replace(model, inputs=sized(model.inputs), outputs=sized(model.outputs))


def _torchscript(model: Model, max_batch_size: int, batching: str, instances: int = 1) -> str:
    return (
        f"{_GENERATED}"
        f'name: "{model.name}"\n'
        'backend: "pytorch"\n'
        f"max_batch_size: {max_batch_size}\n\n"
        f"{_tensors('input', model.inputs)}\n"
        f"{_tensors('output', model.outputs)}\n"
        "# The GPU where there is one, else the CPU.\n"
        f"instance_group [ {{ count: {instances} kind: KIND_AUTO }} ]\n\n"
        f"{batching}\n"
        'parameters { key: "INFERENCE_MODE" value { string_value: "true" } }\n\n'
        f"{_warmup(model, 1)}{_warmup(model, max_batch_size)}"
    )


def _tensors(kind: str, tensors: Sequence[Tensor]) -> str:
    lines = "".join(
        f'  {{ name: "{t.name}" data_type: TYPE_{t.data_type} dims: {list(t.shape)} }},\n'
        for t in tensors
    )
    return f"{kind} [\n" + lines.removesuffix(",\n") + "\n]\n"


def _warmup(model: Model, batch_size: int) -> str:
    # zero_data: random data for FP32 is raw bytes, NaN included.
    inputs = "".join(
        f'  inputs {{ key: "{t.name}" value {{ data_type: TYPE_{t.data_type} '
        f"dims: {list(t.shape)} zero_data: true }} }}\n"
        for t in model.inputs
    )
    # Twice, since libtorch's profiling executor compiles on the second run.
    return (
        "model_warmup {\n"
        f'  name: "batch of {batch_size}"\n'
        f"  batch_size: {batch_size}\n"
        "  count: 2\n"
        f"{inputs}"
        "}\n"
    )


def _parameters(categories: Sequence[str], calibration: Calibration | None) -> str:
    table = json.dumps(list(categories), ensure_ascii=False)
    text = (
        "# Row k of CONTEXT_EMBEDDINGS and ATTENTION belongs to the k-th name.\n"
        f"{_parameter(CATEGORIES_PARAMETER, table)}\n"
    )
    if calibration is None:
        return text
    return (
        f"{text}# The knots of the map from distance to compatibility.\n"
        f"{_parameter(CALIBRATION_PARAMETER, calibration.as_json())}\n"
    )


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: {_quoted(value)} }} }}\n'


def _ensemble(model: Model, head: Model, max_batch_size: int, parameters: str) -> str:
    return (
        f"{_GENERATED}"
        f'name: "{model.name}"\n'
        'platform: "ensemble"\n'
        f"max_batch_size: {max_batch_size}\n\n"
        f"{_tensors('input', model.inputs)}\n"
        f"{_tensors('output', model.outputs)}\n"
        f"{parameters}"
        "ensemble_scheduling {\n"
        f"{_step(BACKBONE, head.inputs)}"
        f"{_step(head, model.outputs)}"
        "}\n"
    )


def _step(model: Model, wanted: Sequence[Tensor]) -> str:
    """An ensemble step: a tensor goes by its name without libtorch's index."""
    names = {_plain(tensor.name) for tensor in wanted}
    inputs = "".join(
        f'    input_map {{ key: "{t.name}" value: "{_plain(t.name)}" }}\n' for t in model.inputs
    )
    outputs = "".join(
        f'    output_map {{ key: "{t.name}" value: "{_plain(t.name)}" }}\n'
        for t in model.outputs
        if _plain(t.name) in names
    )
    return (
        f'  step {{\n    model_name: "{model.name}"\n    model_version: -1\n{inputs}{outputs}  }}\n'
    )


def _plain(name: str) -> str:
    return name.rpartition("__")[0] or name


def _quoted(text: str) -> str:
    """A string of the protobuf text format."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
