"""The stand-in for libtorch's backend keeps its rules, in a real tritonserver."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from completelook.server import EmbeddedServer
from completelook.server.pytorch_backend.cores import Cores
from numpy.typing import NDArray
from torch import Tensor, nn
from toys import infer, owners_client, tensors, write_torch_model
from tritonclient.grpc import InferenceServerClient, InferResult
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.slow

# A full batch of 8 goes at once; a part of one waits for the rest, even on a very busy machine.
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 1000000 }\n"
BOUNDED = (
    "dynamic_batching { default_queue_policy { max_queue_size: 2 } }\n"
    "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
)
# What a server's process starts with; the suite's own processes may go on with fewer.
THREADS = torch.get_num_threads()
MANY_CORES = pytest.mark.skipif(THREADS < 2, reason="one core has no shares")
TYPES = ["UINT8", "INT64", "FP16", "FP32", "BOOL"]


class Subtract(nn.Module):
    def forward(self, minuend: Tensor, subtrahend: Tensor) -> tuple[Tensor, Tensor]:
        return minuend - subtrahend, (minuend + subtrahend).to(torch.float64)


class Echo(nn.Module):
    def forward(
        self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return a, b, c, d, e


class Moody(nn.Module):
    """Doubles; works long on large numbers and fails on negative ones."""

    def forward(self, x: Tensor) -> Tensor:
        if bool((x < 0).any()):
            raise ValueError("too dark")
        work = torch.ones(256, 256)
        for _ in range(int(x.max())):
            work = work @ work / 256
        return 2 * x * work[0, 0]


class Columns(nn.Module):
    """The transpose of a batch's items: memory that is not in the order of its dimensions."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Convolved(nn.Module):
    """A convolution, and the mean over the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        nn.init.constant_(self.conv.weight, 0.02)
        nn.init.constant_(self.conv.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x)).mean(dim=[2, 3])


class AddedTwice(Convolved):
    """A sum of another kind than fits behind a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        added = torch.add(self.conv(torch.relu(x)), self.conv(x), alpha=2)
        return torch.relu(added).mean(dim=[2, 3])


class FirstAdded(Convolved):
    """Adds the first picture's convolution to that of every picture: it grows with no batch."""

    def forward(self, x: Tensor) -> Tensor:
        added = self.conv(x[:1])
        return torch.relu(self.conv(torch.relu(x)) + added).mean(dim=[2, 3])


class Summed(nn.Module):
    """Adds a sum whose rounding shows how many threads have shared it."""

    def forward(self, x: Tensor) -> Tensor:
        # Two halves of a power of two would be rounded as the whole is.
        return x + torch.sin(torch.arange(1_000_003) + x[0]).sum()


class Listed(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return [x]


class Named(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["x"]


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0, keepdim=True)


class Modes(nn.Module):
    """Whether gradients could be recorded, and in which mode the module was saved."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 2 * int(x.is_inference()), x + int(self.training)


def one_in_one_out(data_type: str = "FP32", out_type: str = "FP32", size: int = 1) -> str:
    return tensors("input", ("x", data_type, [size])) + tensors("output", ("y", out_type, [size]))


def write_good_models(root: Path) -> None:
    ins, outs = ("INT64", [2]), ("INT64", [2])
    write_torch_model(
        root,
        "by_argument",
        Subtract(),
        tensors("input", ("subtrahend", *ins), ("minuend", *ins))
        + tensors("output", ("SUM__1", "FP64", [2]), ("DIFFERENCE__0", *outs)),
    )
    write_torch_model(
        root,
        "by_index",
        Subtract(),
        tensors("input", ("FIRST__1", *ins), ("SECOND__0", *ins))
        # libtorch places free output names in the order given, whatever they say.
        + tensors("output", ("SUM", *outs), ("DIFFERENCE", "FP64", [2])),
        file_name="other.pt",
    )
    with (root / "by_index" / "config.pbtxt").open("a") as config:
        config.write('default_model_filename: "other.pt"\n')
    write_torch_model(
        root,
        "types",
        Echo(),
        tensors("input", *((f"IN_{name}", name, [2]) for name in TYPES))
        + tensors("output", *((f"OUT_{name}", name, [2]) for name in TYPES)),
    )
    write_torch_model(root, "moody", Moody(), one_in_one_out() + BATCHING)
    write_torch_model(root, "bounded", Moody(), one_in_one_out() + BOUNDED)
    write_torch_model(
        root,
        "columns",
        Columns(),
        tensors("input", ("x", "FP32", [2, 3])) + tensors("output", ("y", "FP32", [3, 2])),
    )
    write_torch_model(root, "summed", Summed(), one_in_one_out())
    fixed = 'parameters { key: "INTRA_OP_THREAD_COUNT" value { string_value: "1" } }\n'
    write_torch_model(root, "summed_by_one", Summed(), one_in_one_out() + fixed)
    cost = 'parameters { key: "OPERATIONS" value { string_value: "1200000000" } }\n'
    write_torch_model(root, "summed_lightly", Summed(), one_in_one_out() + cost)
    for kind in (Convolved, AddedTwice, FirstAdded):
        write_torch_model(
            root,
            kind.__name__,
            kind().eval(),
            tensors("input", ("x", "FP32", [3, 8, 8])) + tensors("output", ("y", "FP32", [3])),
        )
    write_torch_model(root, "whole", Whole(), one_in_one_out(size=2), max_batch_size=0)
    modes = tensors("input", ("x", "INT64", [1])) + tensors(
        "output", ("INFERENCE", "INT64", [1]), ("TRAINING", "INT64", [1])
    )
    switch = 'parameters { key: "INFERENCE_MODE" value { string_value: "false" } }\n'
    write_torch_model(root, "modes", Modes(), modes + switch)
    write_ensemble(root)


def write_ensemble(root: Path) -> None:
    folder = root / "pipeline" / "1"
    folder.mkdir(parents=True)
    step = 'input_map {{ key: "x" value: "{}" }} output_map {{ key: "y" value: "{}" }}'
    (folder.parent / "config.pbtxt").write_text(
        'platform: "ensemble"\nmax_batch_size: 8\n'
        + tensors("input", ("IN", "FP32", [1]))
        + tensors("output", ("OUT", "FP32", [1]))
        + "ensemble_scheduling { step [\n"
        + f'{{ model_name: "bounded" model_version: -1 {step.format("IN", "HALF_WAY")} }},\n'
        + f'{{ model_name: "bounded" model_version: -1 {step.format("HALF_WAY", "OUT")} }}\n] }}\n'
    )


def write_bad_models(root: Path) -> None:
    write_torch_model(root, "wrong_type", Moody(), one_in_one_out(out_type="FP16"))
    write_torch_model(root, "listed", Listed(), one_in_one_out())
    write_torch_model(root, "bfloat16", Moody(), one_in_one_out("BF16"))
    write_torch_model(root, "too_few", Subtract(), one_in_one_out())
    write_torch_model(root, "named", Named(), one_in_one_out())
    gpu = "instance_group [ { kind: KIND_GPU } ]\n"
    write_torch_model(root, "needs_gpu", Moody(), one_in_one_out() + gpu)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[EmbeddedServer]:
    root = repository
    write_good_models(root)
    write_bad_models(root)
    # The models that do not load must not keep the others from it.
    arguments = ["--exit-on-error=false", "--strict-readiness=false"]
    with EmbeddedServer(root, grpc_port=0, metrics_port=0, arguments=arguments) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[InferenceServerClient]:
    with owners_client(server) as connected:
        yield connected


def numbers(*items: float, data_type: type = np.float32) -> NDArray:
    """One item per number: [N, 1]."""
    return np.array(items, data_type)[:, None]


def test_inputs_go_by_argument_name_and_outputs_by_index(client: InferenceServerClient) -> None:
    inputs = {"minuend": np.array([[5, 7]]), "subtrahend": np.array([[1, 2]])}
    result = infer(client, "by_argument", inputs)
    assert result.as_numpy("DIFFERENCE__0").tolist() == [[4, 5]]
    assert result.as_numpy("SUM__1").tolist() == [[6.0, 9.0]]


def test_inputs_go_by_index_and_free_output_names_by_order(client: InferenceServerClient) -> None:
    inputs = {"FIRST__1": np.array([[5, 7]]), "SECOND__0": np.array([[1, 2]])}
    result = infer(client, "by_index", inputs)
    assert result.as_numpy("SUM").tolist() == [[-4, -5]]
    assert result.as_numpy("DIFFERENCE").tolist() == [[6.0, 9.0]]


def test_every_type_comes_back_as_it_went(client: InferenceServerClient) -> None:
    numpy_types = [np.uint8, np.int64, np.float16, np.float32, np.bool_]
    inputs = {
        f"IN_{name}": np.array([[0, number], [number, 1]]).astype(numpy_type)
        for number, (name, numpy_type) in enumerate(zip(TYPES, numpy_types, strict=True), start=2)
    }
    result = infer(client, "types", inputs)
    for name in TYPES:
        output = result.as_numpy(f"OUT_{name}")
        assert output.dtype == inputs[f"IN_{name}"].dtype
        assert output.tolist() == inputs[f"IN_{name}"].tolist()


def test_only_the_outputs_asked_for_come_back(client: InferenceServerClient) -> None:
    inputs = {"minuend": np.array([[5, 7]]), "subtrahend": np.array([[1, 2]])}
    result = infer(client, "by_argument", inputs, outputs=["SUM__1"])
    assert [output.name for output in result.get_response().outputs] == ["SUM__1"]


def test_output_in_another_memory_order_comes_back_right(client: InferenceServerClient) -> None:
    items = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    result = infer(client, "columns", {"x": items})
    assert result.as_numpy("y").tolist() == items.transpose(0, 2, 1).tolist()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Convolved, id="fused"),
        pytest.param(AddedTwice, id="with a sum"),
        pytest.param(FirstAdded, id="as saved"),
    ],
)
def test_convolutions_answer_as_the_module_does(
    client: InferenceServerClient, kind: type[Convolved]
) -> None:
    items = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    with torch.inference_mode():
        expected = kind().eval()(torch.from_numpy(items)).numpy()
    answer = infer(client, kind.__name__, {"x": items}).as_numpy("y")
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def summed_by(threads: int) -> float:
    usual = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return float(Summed()(torch.zeros(1, 1)))
    finally:
        torch.set_num_threads(usual)


@MANY_CORES
def test_a_batch_has_all_cores_or_its_share_of_them(
    client: InferenceServerClient, repository: Path
) -> None:
    def answer() -> float:
        return float(infer(client, "summed", {"x": numbers(0)}).as_numpy("y")[0, 0])

    assert summed_by(1) != summed_by(THREADS)
    assert answer() == summed_by(THREADS)
    with ExitStack() as running:
        for instance in range(THREADS):
            other = Cores(str(repository / "summed"), instance, most=1)
            running.enter_context(other.share())
        assert answer() == summed_by(1)
    assert answer() == summed_by(THREADS)


@MANY_CORES
def test_a_thread_count_that_is_set_is_kept(client: InferenceServerClient) -> None:
    answer = infer(client, "summed_by_one", {"x": numbers(0)}).as_numpy("y")
    assert float(answer[0, 0]) == summed_by(1)


@MANY_CORES
def test_a_batch_of_little_work_leaves_the_other_cores_alone(client: InferenceServerClient) -> None:
    def answer(*of: float) -> float:
        return float(infer(client, "summed_lightly", {"x": numbers(*of)}).as_numpy("y")[0, 0])

    assert answer(0, 0) == summed_by(1)
    assert answer(0, 0, 0, 0) == summed_by(2)


@MANY_CORES
def test_a_lone_request_gets_more_cores_than_its_share_of_a_batch(
    client: InferenceServerClient,
) -> None:
    answer = infer(client, "summed_lightly", {"x": numbers(0)}).as_numpy("y")
    assert float(answer[0, 0]) == summed_by(min(THREADS, 3))


def test_model_without_batching_gets_its_input_as_it_is(client: InferenceServerClient) -> None:
    result = infer(client, "whole", {"x": np.array([3, 4], np.float32)})
    assert result.as_numpy("y").tolist() == [7]


def test_parameters_are_read_and_the_saved_mode_is_kept(client: InferenceServerClient) -> None:
    result = infer(client, "modes", {"x": numbers(0, data_type=np.int64)})
    assert result.as_numpy("INFERENCE").tolist() == [[0]]
    assert result.as_numpy("TRAINING").tolist() == [[1]]


def test_ensemble_runs_through_its_steps(client: InferenceServerClient) -> None:
    result = infer(client, "pipeline", {"IN": numbers(1, 2)})
    assert result.as_numpy("OUT").tolist() == [[4], [8]]


def together(
    client: InferenceServerClient, model: str, items: list[NDArray]
) -> list[InferResult | InferenceServerException]:
    """Answer requests that are sent at the same moment."""
    start = threading.Barrier(len(items))

    def call(item: NDArray) -> InferResult | InferenceServerException:
        start.wait()
        try:
            return infer(client, model, {"x": item})
        except InferenceServerException as exc:
            return exc

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(call, items))


def batches(client: InferenceServerClient, model: str) -> set[int]:
    """The sizes of the batches that a model has run."""
    stats = client.get_inference_statistics(model).model_stats[0]
    return {batch.batch_size for batch in stats.batch_stats}


def test_requests_at_once_make_one_batch_and_each_gets_its_part(
    client: InferenceServerClient,
) -> None:
    items = [numbers(1), numbers(2, 3), numbers(4), numbers(5, 6, 7, 8)]
    results = together(client, "moody", items)
    assert [result.as_numpy("y").tolist() for result in results] == [
        (2 * item).tolist() for item in items
    ]
    assert 8 in batches(client, "moody")


def test_one_failure_fails_every_request_of_its_batch(client: InferenceServerClient) -> None:
    results = together(client, "moody", [numbers(1, 1, 1), numbers(-1), numbers(2, 2, 2, 2)])
    for result in results:
        assert isinstance(result, InferenceServerException)
        assert "PyTorch execute failure" in result.message()
        assert "too dark" in result.message()
    (result,) = together(client, "moody", [numbers(*[1] * 8)])
    assert result.as_numpy("y").tolist() == [[2]] * 8


def test_full_queue_refuses(client: InferenceServerClient) -> None:
    results = together(client, "bounded", [numbers(500)] * 16)
    refusals = [result for result in results if isinstance(result, InferenceServerException)]
    assert 0 < len(refusals) < 16
    for refusal in refusals:
        assert refusal.status() == "StatusCode.UNAVAILABLE"
        assert "Exceeds maximum queue size" in refusal.message()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("wrong_type", "configuration expects datatype TYPE_FP16 for output 'y'.*TYPE_FP32"),
        ("listed", "should not be a List"),
    ],
)
def test_wrong_output_is_an_error_at_inference(
    client: InferenceServerClient, model: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message):
        infer(client, model, {"x": numbers(1)})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("bfloat16", "unsupported datatype TYPE_BF16 for input 'x'"),
        ("too_few", "configuration expects 1 inputs, model provides 2"),
        ("named", "An input of type 'Dict[str, Tensor]'"),
        pytest.param(
            "needs_gpu",
            "KIND_GPU but no GPUs are available",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_model_that_libtorch_would_refuse_does_not_load(
    client: InferenceServerClient, model: str, message: str
) -> None:
    index = client.get_model_repository_index()
    (entry,) = (entry for entry in index.models if entry.name == model)
    assert entry.state == "UNAVAILABLE"
    assert message in entry.reason
