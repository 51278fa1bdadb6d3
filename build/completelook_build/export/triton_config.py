"""The config.pbtxt of every model in the repository, from the contract of `completelook.contract`.

The files are the production ones: a GPU container and the embedded server read the same. They are
committed with the showroom's category table and no calibration; an export writes its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from completelook.contract import (
    BACKBONE,
    CALIBRATION_PARAMETER,
    CATEGORIES_PARAMETER,
    EMBED_PRODUCT,
    EMBED_SCENE,
    EMBEDDING_SIZE,
    EXPLAIN_SCENE,
    OPERATIONS_PARAMETER,
    PRODUCT_HEAD,
    REGION_GRID,
    SCENE_HEAD,
    Model,
    Tensor,
)
from completelook.ranking import Calibration

from completelook_build.export.formats import DEFAULT_FORMAT, FORMATS, Format
from completelook_build.heads import HeadsConfig


@dataclass(frozen=True)
class Batching:
    """How many images a call of the backbone takes, how many calls run, how many requests wait."""

    max_batch_size: int
    instances: int
    queue_size: int
    waits_for_others: bool = True


# BF16 is for CPUs, whose throughput hardly grows with the batch: a large one would only make
# requests wait for each other, and so would a queue delay. While one of two calls waits for its
# data, the other computes.
BATCHING: Mapping[str, Batching] = {
    "fp32": Batching(max_batch_size=32, instances=1, queue_size=32),
    "bf16": Batching(max_batch_size=4, instances=2, queue_size=64, waits_for_others=False),
    "fp16": Batching(max_batch_size=32, instances=1, queue_size=64),
}

_GENERATED = (
    "# Written by `completelook-build export`; change completelook_build/export/triton_config.py.\n"
)


# Microseconds that a request may wait for others, for each million operations of the backbone: a
# few hundredths of what a CPU then computes. What waits longer than that gains nothing.
_DELAY_US_PER_MILLION = 0.25
_SHORTEST_DELAY_US, _LONGEST_DELAY_US = 100, 2000


def _delay_us(batching: Batching, operations: int | None) -> int:
    """How long a request waits for others; the paper's ResNet50 has 8,174 million operations."""
    if not batching.waits_for_others:
        return 0
    if operations is None:
        return _LONGEST_DELAY_US
    wanted = round(_DELAY_US_PER_MILLION * operations / 1e6)
    return min(max(wanted, _SHORTEST_DELAY_US), _LONGEST_DELAY_US)


_DELAY = """\
  # Paid once per request, here alone: what leaves the backbone together reaches the heads together.
  # By the backbone's arithmetic: a light one has answered before others would have come.
  max_queue_delay_microseconds: {}
"""


def _backbone_batching(queue_size: int, delay_us: int) -> str:
    return f"""\
dynamic_batching {{
{_DELAY.format(delay_us) if delay_us else ""}\
  # Overload is refused here, before any work is spent on it.
  default_queue_policy {{
    max_queue_size: {queue_size}
    timeout_action: REJECT
    default_timeout_microseconds: 5000000
  }}
}}
"""


_UNBATCHED = """\
# Triton's torch_aoti platform does not batch yet.
"""


_HEAD_BATCHING = """\
# What the backbone lets through is the bound. With one of its own, or a timeout, Triton wakes a
# head for a request only while it is idle, and what comes meanwhile may wait for half a second.
dynamic_batching { }
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
    operations: Mapping[str, int] = MappingProxyType({}),
    form: str = DEFAULT_FORMAT,
) -> Mapping[str, str]:
    """The text of each model's config.pbtxt, by the model's name.

    The sizes of the tensors between backbone and heads are those that the heads were made for.
    `operations` are the multiplications and additions of a picture, by model: what the backbone's
    queue delay follows from.
    With `response_cache` Triton answers a scene that it has embedded before from memory. Its key is
    the model, its version and the inputs, and nothing else, which is a trap in two ways:

    - An answer to a request for some of the outputs is what a later request for all of them gets,
      as if the others did not exist. So it is on for `embed_scene` alone, all of whose outputs this
      package always asks for; on the backbone, `embed_scene` would break after an `embed_product`
      of the same picture. A client of one's own must ask for all outputs, too.
    - An answer survives the reload of a model and comes with the old MODEL_ID. Roll out new weights
      by restarting the server.
    """
    format_ = FORMATS[form]
    batching = BATCHING[precision]
    size = batching.max_batch_size if format_.batches else 1
    parameters = _parameters(heads.categories, calibration)
    scene_parameters = parameters + _RESPONSE_CACHE if response_cache else parameters
    queues = {
        BACKBONE: _backbone_batching(
            batching.queue_size, _delay_us(batching, operations.get(BACKBONE.name))
        ),
        SCENE_HEAD: _HEAD_BATCHING,
        PRODUCT_HEAD: _HEAD_BATCHING,
    }
    served = {
        model.name: _served(
            format_,
            sized(model, heads),
            size,
            queue if format_.batches else _UNBATCHED,
            batching.instances if model == BACKBONE else 1,
            operations.get(model.name),
        )
        for model, queue in queues.items()
    }
    return {
        **served,
        EMBED_SCENE.name: _ensemble(format_, EMBED_SCENE, SCENE_HEAD, size, scene_parameters),
        EXPLAIN_SCENE.name: _ensemble(format_, EXPLAIN_SCENE, SCENE_HEAD, size, parameters),
        EMBED_PRODUCT.name: _ensemble(format_, EMBED_PRODUCT, PRODUCT_HEAD, size, parameters),
    }


def sized(model: Model, heads: HeadsConfig) -> Model:
    """A model of the contract with the sizes that follow from its backbone and its categories."""
    count = len(heads.categories)
    shapes = {
        "FEATURE_MAP": (heads.channels, REGION_GRID, REGION_GRID),
        "POOLED": (heads.pooled_size,),
        # Triton's onnxruntime backend wants every size that the file has.
        "CONTEXT_EMBEDDINGS": (count, EMBEDDING_SIZE),
        "ATTENTION": (count, REGION_GRID, REGION_GRID),
    }

    def with_sizes(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(
            replace(tensor, shape=shapes.get(_plain(tensor.name), tensor.shape))
            for tensor in tensors
        )

    return replace(model, inputs=with_sizes(model.inputs), outputs=with_sizes(model.outputs))


def _served(
    format_: Format,
    model: Model,
    max_batch_size: int,
    batching: str,
    instances: int,
    operations: int | None,
) -> str:
    model = _renamed(format_, model)
    parameters = dict(format_.parameters)
    if operations is not None:
        parameters[OPERATIONS_PARAMETER] = str(operations)
    device = "The GPU where there is one, else the CPU."
    if format_.kind == "KIND_CPU":
        device = "It is machine code for the processor that exported it."
    return (
        f"{_GENERATED}"
        f'name: "{model.name}"\n'
        f"{format_.backend}"
        f"max_batch_size: {max_batch_size}\n\n"
        f"{_tensors('input', model.inputs)}\n"
        f"{_tensors('output', model.outputs)}\n"
        f"# {device}\n"
        f"instance_group [ {{ count: {instances} kind: {format_.kind} }} ]\n\n"
        f"{batching}\n"
        f"{''.join(_parameter(*item) for item in parameters.items())}\n"
        f"{''.join(_warmup(model, each) for each in sorted({1, max_batch_size}))}"
    )


def _renamed(format_: Format, model: Model) -> Model:
    """A model with the names that a format's file has for its tensors."""
    if not format_.is_named_by_place:
        return model

    def by_place(tensors: Sequence[Tensor], kind: str) -> tuple[Tensor, ...]:
        return tuple(replace(t, name=f"{kind}__{place}") for place, t in enumerate(tensors))

    inputs, outputs = by_place(model.inputs, "INPUT"), by_place(model.outputs, "OUTPUT")
    return replace(model, inputs=inputs, outputs=outputs)


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


def _ensemble(
    format_: Format, model: Model, head: Model, max_batch_size: int, parameters: str
) -> str:
    return (
        f"{_GENERATED}"
        f'name: "{model.name}"\n'
        'platform: "ensemble"\n'
        f"max_batch_size: {max_batch_size}\n\n"
        f"{_tensors('input', model.inputs)}\n"
        f"{_tensors('output', model.outputs)}\n"
        f"{parameters}"
        "ensemble_scheduling {\n"
        f"{_step(format_, BACKBONE, head.inputs)}"
        f"{_step(format_, head, model.outputs)}"
        "}\n"
    )


def _step(format_: Format, model: Model, wanted: Sequence[Tensor]) -> str:
    """An ensemble step: a tensor goes by its name without libtorch's index."""
    names = {_plain(tensor.name) for tensor in wanted}
    keys = _renamed(format_, model)
    inputs = "".join(
        f'    input_map {{ key: "{key.name}" value: "{_plain(t.name)}" }}\n'
        for key, t in zip(keys.inputs, model.inputs, strict=True)
    )
    outputs = "".join(
        f'    output_map {{ key: "{key.name}" value: "{_plain(t.name)}" }}\n'
        for key, t in zip(keys.outputs, model.outputs, strict=True)
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
