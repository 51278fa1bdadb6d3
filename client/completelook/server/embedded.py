"""The embedded server: a tritonserver of one's own, for as long as a `with` block lasts."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from completelook.errors import EmbeddedServerError
from completelook.golden import GoldenRecord
from completelook.server.access import OwnersKey, exposed_addresses
from completelook.server.installation import find_installation
from completelook.server.ports import claim_ports, wait_until_listening
from completelook.server.processes import EXIT_TIMEOUT_S, ServerProcess
from completelook.server.readiness import infer_golden_image, infer_zeros, server_version
from completelook.server.repository import entry_models, read_repository, runtime_of

_GRPC, _HTTP, _METRICS = "--grpc-port", "--http-port", "--metrics-port"
_ALLOW_HTTP = "--allow-http"
_MODEL_REPOSITORY = "--model-repository"
_OWN_OPTIONS = (_GRPC, _HTTP, _METRICS, _ALLOW_HTTP, _MODEL_REPOSITORY)
_LOOPBACK = "127.0.0.1"
_CACHE_CONFIG = "--cache-config"
# An answer of embed_scene is half a KB for each category, and as much again for the scene.
_RESPONSE_CACHE_BYTES = 64 * 1024 * 1024
_WAIT_INTERVAL_S = 0.2
_BURIAL_S = 2.0
_LOGGER = logging.getLogger("completelook.server")


class EmbeddedServer:
    """A tritonserver on a model repository, ready inside a `with` block and gone after it.

        with EmbeddedServer(grpc_port=0) as server, CompleteLook(server.grpc_address) as look:
            ...

    A port of 0 takes any free one, and keeps it. `arguments` go to tritonserver as they are. What
    it writes goes to the logger `completelook.server`. When one of its processes dies, the whole
    server is ended; `check` and `wait` then say what died, and `start` starts it anew.

    Strangers may ask it for inferences, health, metadata and model configurations; for the rest
    they need `headers`, a key that is new at every start. There is no HTTP without an `http_port`:
    the client needs none, and tritonserver 2.51 dies of a request that any web page can send.

    Where a model of the repository wants its responses cached, the server has a cache of 64 MiB, or
    the one that `arguments` configure with --cache-config. The cache is empty after every start.
    """

    def __init__(
        self,
        model_repository: Path | str = "model_repository",
        *,
        host: str = _LOOPBACK,
        grpc_port: int = 8001,
        http_port: int | None = None,
        metrics_port: int = 8002,
        arguments: Sequence[str] = (),
    ) -> None:
        self._model_repository = Path(model_repository)
        self._host = host
        self._ports = {_GRPC: grpc_port, _METRICS: metrics_port}
        if http_port is not None:
            self._ports[_HTTP] = http_port
        self._arguments = tuple(arguments)
        self._process: ServerProcess | None = None
        self._key: OwnersKey | None = None
        self._interrupted = False

    @property
    def grpc_address(self) -> str:
        """HOST:PORT of the gRPC service."""
        return f"{self._host}:{self._ports[_GRPC]}"

    @property
    def http_address(self) -> str | None:
        """HOST:PORT of the HTTP service, if there is one."""
        return f"{self._host}:{self._ports[_HTTP]}" if _HTTP in self._ports else None

    @property
    def metrics_address(self) -> str:
        """HOST:PORT of the Prometheus metrics, of this machine alone."""
        return f"{_LOOPBACK}:{self._ports[_METRICS]}"

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of a gRPC call that may do everything; other processes: `owners_headers`."""
        return self._key.headers if self._key else {}

    def start(self) -> None:
        """Start the server and wait until every ensemble has answered an inference.

        Of a repository that `completelook-build export` made, that is the export's golden image. A
        server that runs is stopped first.

        Raises:
            EmbeddedServerError: the server cannot run here, a port is taken, a model fails to load,
                or does not answer as the export did.
            KeyboardInterrupt: `interrupt` was called.
        """
        self.stop()
        configs = read_repository(self._model_repository)
        record = GoldenRecord.read(self._model_repository)
        installation = find_installation({runtime_of(config) for config in configs})
        self._ports = claim_ports(self._host, self._ports)
        self._key = OwnersKey(self._ports[_GRPC])
        options = [*self._options(), *self._key.arguments, *self._cache_options(configs)]
        command = [str(installation.program), *installation.arguments, *options, *self._arguments]
        self._process = ServerProcess(command, installation.environment)
        try:
            for host, port in self._listening_addresses():
                wait_until_listening(host, port, self._check_starting)
            self._process.watch()
            self._see_it_answer(configs, record)
        except BaseException:
            self.stop()
            raise
        self._process.started()
        self._warn_of_strangers()

    def stop(self) -> None:
        """End the server, letting requests in flight finish; nothing to do if there is none."""
        if self._process:
            self._process.stop()
            self._process = None
        if self._key:
            self._key.withdraw()
            self._key = None

    def check(self) -> None:
        """Make sure that every process of the server is alive.

        Raises:
            EmbeddedServerError: one has died, or the server is not started.
        """
        if self._process is None:
            raise EmbeddedServerError("the embedded server does not run: call start() first")
        if self._process.death:
            raise EmbeddedServerError(f"the embedded server died: {self._process.death}")

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            EmbeddedServerError: then, always: it says what died, or that there is no server.
            KeyboardInterrupt: `interrupt` was called.
        """
        self.check()
        if self._process:
            while not self._process.ended.wait(_WAIT_INTERVAL_S):
                self._check_interrupted()
            self.check()

    def pause(self, seconds: float) -> None:
        """Wait a while. Raises KeyboardInterrupt when `interrupt` was called."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._check_interrupted()
            time.sleep(min(left_s, _WAIT_INTERVAL_S))

    def interrupt(self) -> None:
        """Have `start`, `wait` and `pause` raise KeyboardInterrupt soon, and from now on.

        For a signal handler, which had better not raise by itself: an import that is under way
        just then may swallow the exception.
        """
        self._interrupted = True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _options(self) -> list[str]:
        for argument in self._arguments:
            option = argument.partition("=")[0]
            if option in _OWN_OPTIONS:
                raise EmbeddedServerError(
                    f"argument {argument} for tritonserver: "
                    f"{option} is an option of this server itself, give it there"
                )
        return [
            f"{_MODEL_REPOSITORY}={self._model_repository}",
            f"--grpc-address={self._host}",
            f"--http-address={self._host}",
            f"--metrics-address={_LOOPBACK}",
            f"{_ALLOW_HTTP}={'true' if _HTTP in self._ports else 'false'}",
            f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
            *(f"{option}={port}" for option, port in self._ports.items()),
        ]

    def _listening_addresses(self) -> Iterator[tuple[str, int]]:
        """Where the server will listen, gRPC first; not where `arguments` move or close a port."""
        hosts = {_GRPC: self._host, _HTTP: self._host, _METRICS: _LOOPBACK}
        for option, host in hosts.items():
            service = option.removeprefix("--").removesuffix("-port")
            elsewhere = (f"--{service}-address", f"--allow-{service}")
            changed = any(argument.startswith(elsewhere) for argument in self._arguments)
            if option == _GRPC or (option in self._ports and not changed):
                yield host, self._ports[option]

    def _cache_options(self, configs: Sequence[Any]) -> list[str]:
        """A response cache, where a model wants one and `arguments` do not say which."""
        wanted = any(config.response_cache.enable for config in configs)
        if not wanted or any(argument.startswith(_CACHE_CONFIG) for argument in self._arguments):
            return []
        return [f"{_CACHE_CONFIG}=local,size={_RESPONSE_CACHE_BYTES}"]

    def _see_it_answer(self, configs: Sequence[Any], record: GoldenRecord | None) -> None:
        try:
            infer_zeros(self.grpc_address, entry_models(configs), self._check_interrupted)
            if record is not None:
                infer_golden_image(self.grpc_address, record)
        except EmbeddedServerError:
            # A death shows as a broken connection a moment before it is known.
            if self._process and self._process.ended.wait(_BURIAL_S):
                self.check()
            raise
        self.check()

    def _warn_of_strangers(self) -> None:
        addresses = exposed_addresses([f"--grpc-address={self._host}", *self._arguments])
        if addresses:
            _LOGGER.warning(
                "%s: others than this machine reach %s there; only Triton's containers 26.07 and "
                "later are fit for that, the server of the wheel nvidia-pytriton (2.51) never is",
                ", ".join(addresses),
                server_version(self.grpc_address),
            )

    def _check_interrupted(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def _check_starting(self) -> None:
        self._check_interrupted()
        if self._process and not self._process.runs:
            reason = self._process.failure()
            raise EmbeddedServerError(f"the embedded server did not start: {reason}")
