"""Toy model repositories for tritonserver, and a look at the processes that a server leaves."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from completelook.server import EmbeddedServer
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

# A model for Triton's plain Python backend, which starts in a fraction of a TorchScript model's
# time. It answers its input, and appends the number of items to the file `answers` at its side.
ECHO = """
from pathlib import Path
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        self.answers = Path(args["model_repository"], "answers")

    def execute(self, requests):
        responses = []
        for request in requests:
            numbers = request.inputs()[0].as_numpy()
            with self.answers.open("a") as answers:
                answers.write(f"{len(numbers)}\\n")
            tensor = triton.Tensor("OUT", numbers)
            responses.append(triton.InferenceResponse([tensor]))
        return responses
"""
BROKEN_LOAD = """
class TritonPythonModel:
    def initialize(self, args):
        raise ValueError("the weights are gone")
"""
BROKEN_ANSWER = """
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        error = triton.TritonError("nothing is dark enough")
        return [triton.InferenceResponse(error=error) for _ in requests]
"""


def tensors(kind: str, *declared: tuple[str, str, Sequence[int]]) -> str:
    """The `input` or `output` part of a configuration."""
    parts = [
        f'{{ name: "{name}" data_type: TYPE_{data_type} dims: {list(dims)} }}'
        for name, data_type, dims in declared
    ]
    return f"{kind} [ {', '.join(parts)} ]\n"


def write_python_model(repository: Path, name: str, source: str = ECHO) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(source)
    (folder.parent / "config.pbtxt").write_text(
        'backend: "python"\nmax_batch_size: 8\n'
        + tensors("input", ("IN", "FP32", [2]))
        + tensors("output", ("OUT", "FP32", [2]))
        + "instance_group [ { kind: KIND_CPU } ]\n"
    )


def write_torch_model(
    repository: Path,
    name: str,
    module: torch.nn.Module,
    config: str,
    *,
    max_batch_size: int = 8,
    file_name: str = "model.pt",
) -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    torch.jit.script(module).save(str(folder / file_name))
    head = f'backend: "pytorch"\nmax_batch_size: {max_batch_size}\n'
    (folder.parent / "config.pbtxt").write_text(head + config)


def owners_client(server: EmbeddedServer) -> InferenceServerClient:
    """A client that may ask a server for everything."""
    client = InferenceServerClient(server.grpc_address)
    headers = server.headers
    client.register_plugin(lambda request: request.headers.update(headers))
    return client


def infer(
    client: InferenceServerClient,
    model: str,
    inputs: dict[str, NDArray],
    outputs: Sequence[str] | None = None,
) -> InferResult:
    return client.infer(
        model,
        [as_input(name, array) for name, array in inputs.items()],
        outputs=None if outputs is None else [InferRequestedOutput(name) for name in outputs],
    )


def as_input(name: str, array: NDArray) -> InferInput:
    tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(np.ascontiguousarray(array))


def server_pids(repository: Path) -> list[int]:
    """The tritonservers of a model repository: other tests run theirs at the same time."""
    option = f"--model-repository={repository}"
    return [
        pid
        for pid, command in _commands().items()
        if command[0].endswith("/tritonserver") and option in command
    ]


def stubs(server_pid: int) -> dict[int, Path]:
    """The living stubs of a server, with their shared memory."""
    return {
        pid: Path("/dev/shm", command[2])
        for pid, command in _commands().items()
        # The command line of one that is just being started, or ends, is not whole.
        if command[0].endswith("_stub") and command[5:6] == [str(server_pid)]
    }


def traces(server_pid: int) -> list[Path]:
    """What would be left of a server if it vanished now: its processes, and their memory."""
    living = stubs(server_pid)
    return [Path(f"/proc/{pid}/exe") for pid in (server_pid, *living)] + list(living.values())


def all_gone(paths: Sequence[Path]) -> bool:
    """Wait until none of the paths is left. A dead process that nobody reaped has no program."""
    return wait_for(lambda: not any(map(Path.exists, paths)))


def wait_for(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def _commands() -> dict[int, list[str]]:
    commands = {}
    for folder in Path("/proc").iterdir():
        try:
            commands[int(folder.name)] = (folder / "cmdline").read_text().split("\0")
        except (ValueError, OSError):
            continue
    return commands
