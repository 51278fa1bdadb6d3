"""What who is no owner of the embedded server gets from it, on the real tritonserver."""

import logging
import stat
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import psutil
import pytest
from completelook.files import cache_folder
from completelook.server import EmbeddedServer, owners_headers
from completelook.server.access import exposed_addresses
from toys import owners_client, server_pids, write_python_model
from tritonclient.grpc import service_pb2

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
OPEN = {
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig",
    "ModelInfer", "ModelStreamInfer",
}  # fmt: skip
HEALTH, REFLECTION = (
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
RESTRICTED_ROUTES = (
    "GET /v2/systemsharedmemory/status", "POST /v2/systemsharedmemory/region/x/register",
    "POST /v2/systemsharedmemory/unregister", "GET /v2/cudasharedmemory/status",
    "POST /v2/cudasharedmemory/region/x/register", "POST /v2/cudasharedmemory/unregister",
    "POST /v2/repository/index", "POST /v2/repository/models/echo/load",
    "POST /v2/repository/models/echo/unload", "GET /v2/models/stats", "GET /v2/models/echo/stats",
    "GET /v2/trace/setting", "POST /v2/trace/setting", "GET /v2/models/echo/trace/setting",
    "GET /v2/logging", "POST /v2/logging",
)  # fmt: skip
OPEN_ROUTES = (
    "GET /v2", "GET /v2/health/live", "GET /v2/health/ready", "GET /v2/models/echo",
    "GET /v2/models/echo/ready", "GET /v2/models/echo/config",
)  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_python_model(tmp_path / "models", "echo")
    return tmp_path / "models"


def failure(address: str, path: str, *, stream: bool = False, headers=()) -> str:
    """The status and the message of a call with an empty request; OK where it is answered."""
    with grpc.insecure_channel(address) as channel:
        try:
            if stream:
                list(channel.stream_stream(path)(iter([b""]), metadata=headers, timeout=20))
            else:
                channel.unary_unary(path)(b"", metadata=headers, timeout=20)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "OK"


def test_stranger_reaches_inference_health_metadata_and_configuration_alone(server) -> None:
    refused = {
        method.name
        for method in SERVICE.methods
        if "protocol is restricted"
        in failure(
            server.grpc_address,
            f"/{SERVICE.full_name}/{method.name}",
            stream=method.server_streaming,
        )
    }
    assert {method.name for method in SERVICE.methods} - refused == OPEN
    assert failure(server.grpc_address, HEALTH) == "OK"
    assert failure(server.grpc_address, REFLECTION, stream=True).startswith("UNIMPLEMENTED")


@pytest.mark.parametrize("method", ["ModelStatistics", "RepositoryIndex", "LogSettings"])
def test_owner_reaches_the_rest(server, method: str) -> None:
    headers = tuple(server.headers.items())
    path = f"/{SERVICE.full_name}/{method}"
    assert failure(server.grpc_address, path, headers=headers) == "OK"


@pytest.mark.slow
def test_nothing_listens_but_grpc_and_metrics_on_loopback(repository: Path) -> None:
    with EmbeddedServer(repository, grpc_port=0, metrics_port=0) as server:
        (pid,) = server_pids(repository)
        assert listening(pid) == {server.grpc_address, server.metrics_address}
        assert server.http_address is None


def listening(pid: int) -> set[str]:
    """The addresses on which a process listens."""
    sockets = [each for each in psutil.Process(pid).net_connections("tcp") if not each.raddr]
    return {f"{each.laddr.ip.removeprefix('::ffff:')}:{each.laddr.port}" for each in sockets}


def http_status(address: str, route: str, headers: dict[str, str]) -> int:
    method, path = route.split()
    data = b"{}" if method == "POST" else None
    try:
        with urlopen(Request(f"http://{address}{path}", data, headers), timeout=20) as answer:
            return answer.status
    except HTTPError as error:
        with error:
            return error.code


@pytest.mark.slow
def test_http_is_as_closed_where_it_is_wanted(repository: Path) -> None:
    with EmbeddedServer(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
        statuses = {
            route: http_status(server.http_address, route, {})
            for route in (*RESTRICTED_ROUTES, *OPEN_ROUTES)
        }
        ((header, value),) = server.headers.items()
        owner = {header.removeprefix("triton-grpc-protocol-"): value}
        assert http_status(server.http_address, "GET /v2/models/stats", owner) == 200
    assert {route for route, status in statuses.items() if status == 403} == {*RESTRICTED_ROUTES}
    assert {route for route, status in statuses.items() if status == 200} == {*OPEN_ROUTES}


@pytest.mark.slow
def test_key_is_the_owners_alone_and_new_at_every_start(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with EmbeddedServer(repository, grpc_port=0, metrics_port=0) as server:
        first = server.headers
        port = server.grpc_address.rpartition(":")[2]
        (file,) = (cache_folder() / "keys").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert owners_headers(f"localhost:{port}") == first
        assert owners_headers(f"elsewhere:{port}") == {}
        server.start()
        assert owners_headers(server.grpc_address) == server.headers != first
        with owners_client(server) as client:
            assert client.get_inference_statistics("echo").model_stats
    assert not file.exists()
    assert owners_headers(server.grpc_address) == {} == server.headers


@pytest.mark.slow
def test_address_that_others_reach_is_a_warning(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ["--metrics-address", "0.0.0.0"]
    with (
        caplog.at_level(logging.WARNING),
        EmbeddedServer(repository, grpc_port=0, metrics_port=0, arguments=arguments),
    ):
        pass
    (warning,) = (text for text in caplog.messages if "26.07" in text)
    assert warning.startswith("0.0.0.0: ")
    assert "triton 2.51.0" in warning


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--http-address=0.0.0.0", "--grpc-address", "10.0.0.5"], ["0.0.0.0", "10.0.0.5"]),
        (["--http-addr=::"], ["::"]),
        (["--grpc-address=host.example"], ["host.example"]),
        (["--grpc-address=127.0.0.1", "--http-address", "::1"], []),
        (["--metrics-address=localhost", "--log-verbose=1"], []),
    ],
)
def test_addresses_beyond_loopback_are_seen(arguments: list[str], found: list[str]) -> None:
    assert exposed_addresses(arguments) == found
