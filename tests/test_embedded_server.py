"""The embedded server: when it is ready, what it leaves, what it says when something dies."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from completelook.errors import EmbeddedServerError
from completelook.server import EmbeddedServer, embedded
from completelook.server.installation import TUNING, find_installation
from completelook.server.ports import wait_until_listening
from completelook.server.processes.log import ServerLog
from completelook.server.processes.stubs import Stubs
from completelook.server.repository import entry_models, read_repository
from completelook.server.wheel import Wheel
from toys import (
    BROKEN_ANSWER,
    BROKEN_LOAD,
    all_gone,
    infer,
    owners_client,
    server_pids,
    stubs,
    traces,
    wait_for,
    write_python_model,
)
from tritonclient.grpc import InferenceServerClient

pytestmark = pytest.mark.slow

ANY_PORTS: dict[str, Any] = {"grpc_port": 0, "metrics_port": 0}
SERVE = """
import sys
from completelook.server import serve_until_stopped
ports = {"grpc_port": 0, "http_port": None, "metrics_port": 0}
serve_until_stopped(sys.argv[1], **ports, arguments=sys.argv[2:])
"""

DIES_IN_STARTS_2_TO_6 = """
import os, pathlib, signal
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        starts = pathlib.Path(args["model_repository"], "starts")
        self.start = len(starts.read_text()) + 1 if starts.exists() else 1
        starts.write_text("x" * self.start)

    def execute(self, requests):
        if 2 <= self.start <= 6:
            os.kill(os.getpid(), signal.SIGKILL)
        tensors = [triton.Tensor("OUT", each.inputs()[0].as_numpy()) for each in requests]
        return [triton.InferenceResponse([tensor]) for tensor in tensors]
"""

# A weak reference's callback swallows what is raised in it; so ends each import of a module.
CTRL_C_IN_A_CALLBACK = """
import signal, weakref
from completelook.server import embedded as _embedded

class Module: pass

def interrupted_read(folder):
    reference = weakref.ref(Module(), lambda _: signal.raise_signal(signal.SIGINT))
    return read_repository(folder)

read_repository = _embedded.read_repository
_embedded.read_repository = interrupted_read
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_python_model(tmp_path / "models", "echo")
    return tmp_path / "models"


@pytest.fixture
def served(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """`serve` in a process of its own."""
    command = [sys.executable, "-c", SERVE, str(repository)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} is not in {lines}")


def answers(repository: Path, model: str) -> list[str]:
    return (repository / model / "answers").read_text().split()


def test_server_is_ready_once_an_inference_was_answered_and_leaves_nothing(
    repository: Path,
) -> None:
    with EmbeddedServer(repository, **ANY_PORTS) as server:
        assert answers(repository, "echo") == ["1"]
        server.check()
        with InferenceServerClient(server.grpc_address) as client:
            numbers = np.array([[1, 2]], np.float32)
            assert infer(client, "echo", {"IN": numbers}).as_numpy("OUT").tolist() == [[1, 2]]
        (server_pid,) = server_pids(repository)
        left = traces(server_pid)
        assert len(left) == 3
    assert not any(map(Path.exists, left))


def test_server_is_ready_once_it_listens_on_every_port_that_arguments_leave_alone(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def wait(host: str, port: int, check_alive: Callable[[], None]) -> None:
        waited.append(f"{host}:{port}")
        wait_until_listening(host, port, check_alive)

    monkeypatch.setattr(embedded, "wait_until_listening", wait)
    with EmbeddedServer(repository, http_port=0, **ANY_PORTS) as server:
        assert waited == [server.grpc_address, server.http_address, server.metrics_address]
    waited.clear()
    moved = ["--http-address", "127.0.0.2", "--allow-metrics=false"]
    with EmbeddedServer(repository, http_port=0, arguments=moved, **ANY_PORTS) as server:
        assert waited == [server.grpc_address]


def test_only_ensembles_are_asked_where_there_are_some(repository: Path) -> None:
    (repository / "outer").mkdir()
    (repository / "outer" / "config.pbtxt").write_text('platform: "ensemble"')
    configs = read_repository(repository)
    assert [config.name for config in configs] == ["echo", "outer"]
    assert [config.name for config in entry_models(configs)] == ["outer"]


def test_servers_run_side_by_side_whatever_thread_has_started_them(repository: Path) -> None:
    servers = [EmbeddedServer(repository, **ANY_PORTS) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        with ThreadPoolExecutor() as pool:
            for server in servers:
                stack.callback(server.stop)
            list(pool.map(EmbeddedServer.start, servers))
        addresses = {
            address
            for server in servers
            for address in (server.grpc_address, server.metrics_address)
        }
        assert len(addresses) == 4
        for server in servers:
            with InferenceServerClient(server.grpc_address) as client:
                infer(client, "echo", {"IN": np.zeros((1, 2), np.float32)})


def test_dead_stub_ends_the_server_which_says_so_and_can_start_anew(repository: Path) -> None:
    with EmbeddedServer(repository, **ANY_PORTS) as server:
        address = server.grpc_address
        (server_pid,) = server_pids(repository)
        left = traces(server_pid)
        (stub_pid,) = stubs(server_pid)
        os.kill(stub_pid, signal.SIGKILL)
        with pytest.raises(EmbeddedServerError, match=rf"echo_0_0 .*pid {stub_pid}\) died"):
            server.wait()
        assert not any(map(Path.exists, left))
        with pytest.raises(EmbeddedServerError, match="died"):
            server.check()

        server.start()
        server.check()
        assert server.grpc_address == address


def test_dead_server_is_noticed(repository: Path) -> None:
    with EmbeddedServer(repository, **ANY_PORTS) as server:
        (server_pid,) = server_pids(repository)
        left = traces(server_pid)
        os.kill(server_pid, signal.SIGKILL)
        with pytest.raises(EmbeddedServerError, match=rf"tritonserver \(pid {server_pid}\).*KILL"):
            server.wait()
        assert not any(map(Path.exists, left))


def test_stub_of_an_unloaded_model_is_no_death(repository: Path) -> None:
    write_python_model(repository, "other")
    arguments = ["--model-control-mode=explicit", "--load-model=*"]
    with EmbeddedServer(repository, **ANY_PORTS, arguments=arguments) as server:
        (server_pid,) = server_pids(repository)
        assert len(stubs(server_pid)) == 2
        with owners_client(server) as client:
            client.unload_model("other")
            assert wait_for(lambda: len(stubs(server_pid)) == 1)
            infer(client, "echo", {"IN": np.zeros((1, 2), np.float32)})
        server.check()


def test_process_with_a_part_of_a_stubs_command_line_is_no_stub() -> None:
    command = ["triton_python_backend_stub", "-"]
    with subprocess.Popen(command, executable="/bin/cat", stdin=subprocess.PIPE) as starting:
        found = Stubs(os.getpid())
        found.find()
        starting.kill()
    assert not found._stubs


def test_serve_restarts_what_died_and_ends_well_on_sigterm(
    served: subprocess.Popen[str], repository: Path
) -> None:
    read_until(served, "ready: gRPC on 127.0.0.1:")
    (server_pid,) = server_pids(repository)
    first = traces(server_pid)
    (stub_pid,) = stubs(server_pid)
    os.kill(stub_pid, signal.SIGKILL)
    lines = read_until(served, "ready:")
    assert f"echo_0_0 (pid {stub_pid}) died; starting it anew" in "".join(lines)

    (server_pid,) = server_pids(repository)
    second = traces(server_pid)
    served.send_signal(signal.SIGTERM)
    assert served.wait(60) == 0
    assert served.stderr.read() == "stopping\n"
    assert not any(map(Path.exists, first + second))


def test_deaths_before_ready_do_not_end_serve(repository: Path) -> None:
    """Five starts in a row die in their first inference, after a server that was ready."""
    write_python_model(repository, "moody", DIES_IN_STARTS_2_TO_6)
    impatient = "from completelook.server import serve\nserve._FIRST_PAUSE_S = 0.01\n"
    command = [sys.executable, "-c", impatient + SERVE, str(repository)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        try:
            read_until(served, "ready:")
            (server_pid,) = server_pids(repository)
            os.kill(server_pid, signal.SIGKILL)
            lines = read_until(served, "ready:")
            pauses = [line.rpartition(" in ")[2] for line in lines if "starting it anew" in line]
            assert pauses[1:] == [f"{0.01 * 2**step:g} s\n" for step in range(5)]
            assert sum("moody_0_0" in line and ") died" in line for line in lines) == 5
        finally:
            served.terminate()
            served.wait(60)


def test_ctrl_c_while_the_models_load_ends_well(
    served: subprocess.Popen[str], repository: Path
) -> None:
    read_until(served, "starting")
    served.send_signal(signal.SIGINT)
    assert served.wait(60) == 0
    assert server_pids(repository) == []


def test_ctrl_c_is_not_lost_where_an_exception_would_be(repository: Path) -> None:
    command = [sys.executable, "-c", CTRL_C_IN_A_CALLBACK + SERVE, str(repository)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    assert ended.stderr == "starting tritonserver\nstopping\n"


def test_server_does_not_outlive_a_killed_parent(
    served: subprocess.Popen[str], repository: Path
) -> None:
    read_until(served, "ready:")
    (server_pid,) = server_pids(repository)
    left = traces(server_pid)
    (stub_pid,) = stubs(server_pid)
    # As one that waits for a lock of the server, which will never be given back.
    os.kill(stub_pid, signal.SIGSTOP)
    served.kill()
    served.wait(60)
    assert all_gone(left)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(
            BROKEN_LOAD, "did not start: model 'broken': .*the weights are gone$", id="at load"
        ),
        pytest.param(
            BROKEN_ANSWER, "'broken' loads, but fails .*: nothing is dark enough$", id="at zeros"
        ),
    ],
)
def test_model_that_fails_is_named_with_tritons_reason(
    repository: Path, source: str, message: str
) -> None:
    write_python_model(repository, "broken", source)
    with pytest.raises(EmbeddedServerError, match=message) as raised:
        EmbeddedServer(repository, **ANY_PORTS).start()
    assert "\n" not in str(raised.value)
    assert server_pids(repository) == []


def test_wrong_argument_is_an_error_without_the_help_text(repository: Path) -> None:
    server = EmbeddedServer(repository, **ANY_PORTS, arguments=["--nonsense"])
    with pytest.raises(EmbeddedServerError, match=r"unrecognized option '--nonsense'$"):
        server.start()


@pytest.mark.parametrize(
    "option", ["--grpc-port=1", "--model-repository=elsewhere", "--allow-http=1"]
)
def test_argument_that_the_server_sets_itself_is_refused(repository: Path, option: str) -> None:
    server = EmbeddedServer(repository, **ANY_PORTS, arguments=[option])
    with pytest.raises(EmbeddedServerError, match=option):
        server.start()


@pytest.mark.parametrize("name", ["grpc_port", "http_port", "metrics_port"])
def test_taken_port_is_named_with_the_option_that_changes_it(repository: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        option = "--" + name.replace("_", "-")
        with pytest.raises(EmbeddedServerError, match=f"port {port} .*in use.*{option}"):
            EmbeddedServer(repository, **{**ANY_PORTS, name: port}).start()


def test_one_port_for_two_services_is_an_error(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(EmbeddedServerError, match=f"port {port} .*--http-port"):
        EmbeddedServer(repository, grpc_port=port, http_port=port, metrics_port=0).start()


def test_port_out_of_range_is_an_error(repository: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"port 70000 .*65535.*--grpc-port"):
        EmbeddedServer(repository, grpc_port=70000).start()


def test_missing_repository_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"nowhere is not a folder: .*build export"):
        EmbeddedServer(tmp_path / "nowhere").start()


def test_empty_repository_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"holds no model.*build export"):
        EmbeddedServer(tmp_path).start()


def test_missing_model_file_says_how_to_make_it(tmp_path: Path) -> None:
    (tmp_path / "backbone" / "1").mkdir(parents=True)
    (tmp_path / "backbone" / "config.pbtxt").write_text('backend: "pytorch"')
    with pytest.raises(EmbeddedServerError, match=r"'backbone' has no model.pt .*build export"):
        EmbeddedServer(tmp_path).start()


def test_broken_configuration_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "config.pbtxt").write_text('backend: "pytorch"\nnonsense: 1')
    with pytest.raises(EmbeddedServerError, match=r"backbone/config.pbtxt .*2:1 .*nonsense"):
        EmbeddedServer(tmp_path).start()


def test_check_before_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="does not run"):
        EmbeddedServer(tmp_path).check()


@pytest.mark.parametrize(
    ("target", "value", "message"),
    [
        pytest.param("sys.platform", "darwin", "not on darwin.*--server", id="system"),
        pytest.param("platform.machine", lambda: "aarch64", "aarch64.*--server", id="machine"),
        pytest.param("platform.libc_ver", lambda: ("glibc", "2.31"), "2.35.*2.31", id="glibc"),
        pytest.param("platform.libc_ver", lambda: ("", ""), "another C library", id="no glibc"),
        pytest.param(
            "importlib.util.find_spec",
            lambda _: None,
            r"pytriton and torch, not installed.*pip install 'completelook\[server\]'",
            id="packages",
        ),
        pytest.param(
            "importlib.metadata.version",
            lambda _: "2.1.3",
            "2.1.3.*pip install 'numpy<2'",
            id="numpy",
        ),
        pytest.param("completelook.server.wheel._PYTHON", "3.99", "3.8 to 3.13, not", id="python"),
    ],
)
def test_unsupported_machine_is_an_error_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, target: str, value: object, message: str
) -> None:
    monkeypatch.setattr(target, value)
    with pytest.raises(EmbeddedServerError, match=message):
        Wheel.find()


def test_missing_libpython_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("completelook.server.wheel._PYTHON", "3.99")
    with pytest.raises(EmbeddedServerError, match=r"libpython3\.99\.so\.1\.0.*enable-shared"):
        Wheel(Path("program"), Path("libraries"), Path("caches"), {}).environment()


def test_backends_are_assembled_once_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TRITONSERVER", raising=False)
    first, second = find_installation(), find_installation()
    assert first == second
    (folder,) = (tmp_path / "completelook" / "backends").iterdir()
    assert f"--backend-directory={folder}" in first.arguments
    assert {str(file.relative_to(folder)) for file in folder.rglob("*.*")} == {
        "python/libtriton_python.so",
        "python/triton_python_backend_utils.py",
        "pytorch/cores.py",
        "pytorch/fusion.py",
        "pytorch/model.py",
        "pytorch/threads.py",
    }
    assert os.access(folder / "python" / "triton_python_backend_stub", os.X_OK)


def test_cache_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.delenv("TRITONSERVER", raising=False)
    with pytest.raises(EmbeddedServerError, match="XDG_CACHE_HOME"):
        find_installation()


def tritonserver(root: Path, backend_library: str) -> Path:
    """An installation with one library as its `pytorch` backend."""
    program = root / "bin" / "tritonserver"
    for file in (program, root / "backends" / "pytorch" / backend_library):
        file.parent.mkdir(parents=True)
        file.touch(mode=0o755)
    return program


@pytest.mark.parametrize("way", ["TRITONSERVER", "PATH"])
def test_installed_libtorch_backend_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    program = tritonserver(tmp_path, "libtriton_pytorch.so")
    for name in ("TRITONSERVER", *TUNING):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(way, str(program if way == "TRITONSERVER" else program.parent))
    installation = find_installation()
    assert installation.program == program
    assert installation.arguments == (
        f"--backend-directory={tmp_path / 'backends'}",
        f"--cache-directory={tmp_path / 'caches'}",
    )
    assert TUNING.items() <= installation.environment.items()


def test_tritonserver_on_path_without_libtorch_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITONSERVER", raising=False)
    monkeypatch.setenv("PATH", str(tritonserver(tmp_path, "model.py").parent))
    assert find_installation().program == Wheel.find().program


@pytest.mark.parametrize(
    ("backend_library", "message"),
    [
        pytest.param("model.py", "comes without .*libtriton_pytorch.so", id="no libtorch"),
        pytest.param(None, "is not a file", id="no program"),
    ],
)
def test_tritonserver_variable_that_names_no_libtorch_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend_library: str | None, message: str
) -> None:
    program = tritonserver(tmp_path, backend_library) if backend_library else tmp_path / "nothing"
    monkeypatch.setenv("TRITONSERVER", str(program))
    with pytest.raises(EmbeddedServerError, match=message):
        find_installation()


def test_log_is_quiet_but_for_warnings_and_errors_that_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = ServerLog()
    harmless = 'W1123 18:30:35.004726 5506 metrics.cc:798] "DCGM unable to start: no"'
    plain = 'I1123 18:30:35.004726 5506 server.cc:1] "loading"'
    warning = 'W1123 18:30:35.004726 5506 pool.cc:2] "the pool is full"'
    error = 'E1123 18:30:35.004726 5506 server.cc:3] "a request failed"'
    for line in (harmless, plain, "+----+", warning, error):
        log.add(line)
    assert log.failure() == "a request failed"
    shown = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert shown == [warning]

    log.started()
    shown = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert shown == [warning, error]
