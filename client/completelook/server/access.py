"""Who may ask a server for what: strangers for embeddings, its owner for the rest.

Triton answers everybody that reaches it: a stranger can register the server's own shared memory and
write to it, unload its models, have its log written to another file. All of that takes a key here,
new at every start. It is an argument of tritonserver, so who can list the processes of this machine
can read it: docs/operations.md says what to do about that.
"""

import ipaddress
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from completelook.files import cache_folder

_RESTRICTED = "shared-memory,model-repository,statistics,trace,logging"
_KEY = "completelook-key"
_OWN_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - told apart, not bound


class OwnersKey:
    """The key of one run of a server, and the file in which its owner finds it."""

    def __init__(self, grpc_port: int) -> None:
        self._value = secrets.token_hex(16)
        self._file = _key_file(grpc_port)
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.withdraw()  # one of a server that was killed
        self._file.touch(0o600, exist_ok=False)
        self._file.write_text(self._value, encoding="utf-8")

    @property
    def arguments(self) -> list[str]:
        """What tritonserver is started with, to keep others out."""
        return [
            f"--grpc-restricted-protocol={_RESTRICTED}:{_KEY}={self._value}",
            f"--http-restricted-api={_RESTRICTED}:{_KEY}={self._value}",
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
        ]

    @property
    def headers(self) -> dict[str, str]:
        """What opens the server to a gRPC call."""
        return _grpc_headers(self._value)

    def withdraw(self) -> None:
        """Remove the file: the server is gone."""
        self._file.unlink(missing_ok=True)


def exposed_addresses(arguments: Sequence[str]) -> list[str]:
    """The addresses among arguments for tritonserver that other machines may reach."""
    # An option's value can be the next argument, and its name cut short.
    text = re.sub(r"\0(?!-)", "=", "\0".join(arguments))
    named = re.findall(r"--(?:grpc|http|metrics)-a[a-z]*=([^\0]+)", text)
    return sorted({address for address in named if not _is_loopback(address)})


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def owners_headers(server: str) -> Mapping[str, str]:
    """What opens a server that this user runs on this machine; nothing for any other one."""
    host, _, port = server.rpartition(":")
    try:
        return _grpc_headers(_key_file(int(port)).read_text()) if host in _OWN_HOSTS else {}
    except (OSError, ValueError):
        return {}


def _grpc_headers(value: str) -> dict[str, str]:
    return {f"triton-grpc-protocol-{_KEY}": value}


def _key_file(grpc_port: int) -> Path:
    return cache_folder() / "keys" / str(grpc_port)
