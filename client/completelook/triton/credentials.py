"""What a locked server asks of a client: TLS, a certificate, headers such as a token."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from completelook.errors import UsageError

# What gRPC takes; `-bin` names would hold bytes.
_HEADER_NAME = re.compile(r"[0-9a-z_.-]+(?<!-bin)")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True)
class Credentials:
    """How to reach a server that not everyone may reach; the default is plain, without headers.

    `tls` trusts the authorities that gRPC knows, `ca` only those of a PEM file. `certificate` and
    `key`, PEM files too, are the client's own, for a server that asks for one. `headers` go with
    every call, such as {"authorization": "Bearer ..."}.

    Making one raises UsageError for a file that cannot be used, a certificate without its key, a
    header that cannot be sent.
    """

    tls: bool = False
    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise UsageError(
                f"certificate {self.certificate} and key {self.key}: give both, a PEM file each"
            )
        for name, value in self.headers.items():
            if not (_HEADER_NAME.fullmatch(name.lower()) and _HEADER_VALUE.fullmatch(value)):
                raise UsageError(
                    f"header {name!r} cannot be sent: a name has letters, digits, '-', '_' and "
                    "'.', a value printable ASCII"
                )
        self._check_files()

    @property
    def metadata(self) -> dict[str, str]:
        """The headers as gRPC takes them, in lower case."""
        return {name.lower(): value for name, value in self.headers.items()}

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """What gRPC makes a TLS channel with, None for a plain one."""
        if not (self.tls or self.ca or self.certificate):
            return None
        files = (self.ca, self.key, self.certificate)
        return grpc.ssl_channel_credentials(*(file and Path(file).read_bytes() for file in files))

    def _check_files(self) -> None:
        """gRPC would take any bytes, and say with every call that no handshake succeeds."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
            if self.certificate is not None:
                # Without a password it would be asked for.
                context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            raise UsageError(
                f"CA {self.ca}, certificate {self.certificate}, key {self.key}: {exc}; expected "
                "PEM files, the key that of the certificate and without a password"
            ) from exc


PLAIN = Credentials()
