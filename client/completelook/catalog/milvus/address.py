"""Where a catalog in Milvus is: `milvus://HOST:PORT/NAME`, `?index=hnsw&ef=512` for an HNSW.

`milvuss://` is the same behind TLS.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from completelook.errors import UsageError

SCHEME, TLS_SCHEME = "milvus://", "milvuss://"
DEFAULT_PORT = 19530

# Milvus takes 255 letters; its collections carry a model's id behind the name.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")

IndexKind = Literal["FLAT", "HNSW"]


@dataclass(frozen=True)
class Address:
    """A catalog's server, name, and how it is to be searched."""

    host: str
    port: int
    name: str
    index: IndexKind = "FLAT"  # of a new catalog: exact; HNSW is faster on millions, approximate
    ef: int = 512  # how many candidates HNSW keeps: more find more of the true nearest
    tls: bool = False

    @property
    def server(self) -> str:
        """HOST:PORT, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        options = f"?index=hnsw&ef={self.ef}" if self.index == "HNSW" else ""
        return f"{TLS_SCHEME if self.tls else SCHEME}{self.server}/{self.name}{options}"


def is_milvus(location: object) -> bool:
    """Whether a catalog's location is one in Milvus."""
    return isinstance(location, str) and location.startswith((SCHEME, TLS_SCHEME))


def parse_address(location: str) -> Address:
    """Take a location apart. Raises UsageError."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
    except ValueError as error:
        raise _malformed(location, str(error)) from error
    name = parts.path.removeprefix("/")
    if not is_milvus(location) or not host:
        raise _malformed(location, "no host")
    if parts.username or parts.password:
        raise _malformed(location, "put USER:PASSWORD into COMPLETELOOK_MILVUS_TOKEN")
    if not _NAME.fullmatch(name):
        raise _malformed(location, f"the name {name!r}: expected letters, digits and underscores")
    index, ef = options.pop("index", "flat"), options.pop("ef", "512")
    if options or index not in ("flat", "hnsw") or not re.fullmatch(r"[1-9]\d{0,4}", ef):
        raise _malformed(location, "expected no options but index=flat|hnsw and ef=NUMBER")
    kind: IndexKind = "HNSW" if index == "hnsw" else "FLAT"
    return Address(host, port, name, kind, int(ef), location.startswith(TLS_SCHEME))


def _malformed(location: str, what: str) -> UsageError:
    return UsageError(
        f"{location!r}: {what}: expected {SCHEME}HOST:{DEFAULT_PORT}/NAME, or "
        f"{TLS_SCHEME} behind TLS, for an HNSW index with ?index=hnsw behind it"
    )
