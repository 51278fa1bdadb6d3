"""A Milvus server: every call with a deadline, every failure one of ours, every text quoted."""

import logging
import os
import time
from typing import Any

from completelook.catalog.milvus.address import Address
from completelook.errors import CatalogError, CatalogUnavailable

READ_TIMEOUT_S = 10.0
# A write is worth waiting for a server that starts anew: its log takes 10 to 20 s to be read.
WRITE_TIMEOUT_S = 60.0
_TOKEN = "COMPLETELOOK_MILVUS_TOKEN"  # noqa: S105 - the variable that holds it
_CA = "COMPLETELOOK_MILVUS_CA"  # the one that names the file of who has signed the server's key

_NOT_FOUND = 100
_NOT_YET_LOADED = (101, 103)
_PAUSE_S = 0.2


class CollectionMissing(CatalogError):
    """A collection, or an alias of one, is not there; the store says what that means."""


class MilvusServer:
    """What `pymilvus.MilvusClient` does, by the names of its methods; shared by threads."""

    def __init__(self, address: Address) -> None:
        """Connect. Raises CatalogError, CatalogUnavailable."""
        try:
            import pymilvus
        except ImportError as error:
            raise CatalogError(
                f"{address}: needs pymilvus: pip install 'completelook[milvus]'"
            ) from error
        # Its own handler prints a traceback of each failure, beside the error that says it.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self._address = address
        self._failure: type[Exception] = pymilvus.MilvusException
        self._client: Any = None
        self._client = self._translated(
            pymilvus.MilvusClient,
            uri=f"{'https' if address.tls else 'http'}://{address.server}",
            token=os.environ.get(_TOKEN, ""),
            server_pem_path=self._authority(),
            timeout=READ_TIMEOUT_S,
        )

    def _authority(self) -> str:
        """The file of the authority that the server's certificate is of; empty for the system's."""
        path = os.environ.get(_CA, "") if self._address.tls else ""
        if path and not os.access(path, os.R_OK):
            raise CatalogError(f"{_CA}: {path!r} cannot be read: expected a file of certificates")
        return path

    def read(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The result of a method that changes nothing. Raises CatalogError."""
        call = getattr(self._client, method)
        return self._translated(call, *arguments, timeout=READ_TIMEOUT_S, **options)

    def write(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The result of a method that may be repeated. Raises CatalogError."""
        call = getattr(self._client, method)
        return self._translated(call, *arguments, timeout=WRITE_TIMEOUT_S, **options)

    def _translated(self, call: Any, *arguments: Any, timeout: float, **options: Any) -> Any:
        """A call's result, waited for while the server is starting anew."""
        import grpc

        deadline_s = time.monotonic() + timeout
        while True:
            try:
                return call(*arguments, timeout=timeout, **options)
            except (grpc.RpcError, self._failure) as error:
                transport: Any = error if isinstance(error, grpc.RpcError) else error.__cause__
                if isinstance(transport, grpc.RpcError):
                    raise self._unanswered(transport) from error
                code: Any = getattr(error, "code", None)
                is_starting = getattr(error, "retriable", False) or code in _NOT_YET_LOADED
                if not is_starting or time.monotonic() > deadline_s:
                    message = str(getattr(error, "message", error))
                    raise self._refused(code, message) from error
                time.sleep(_PAUSE_S)

    def _unanswered(self, error: Any) -> CatalogError:
        where = f"Milvus at {self._address.server}"
        if error.code().name == "UNAUTHENTICATED":
            return CatalogError(f"{where} asks who is there: put USER:PASSWORD into {_TOKEN}")
        way_out = "start it, or mend the address"
        if self._address.tls:
            way_out += f", or name who signed its certificate in {_CA}"
        return CatalogUnavailable(f"no answer from {where} ({error.code().name}): {way_out}")

    def _refused(self, code: Any, message: str) -> CatalogError:
        if code == _NOT_FOUND:
            return CollectionMissing(f"{self._address}: {message}")
        return CatalogError(f"{self._address}: Milvus refuses: {message}")


def quoted(text: str) -> str:
    r"""A text as a filter has it, in ASCII: Milvus 2.3 has no templates that would keep it apart.

    Its grammar takes C's escapes, \u and \U, and no raw line break.
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    code = ord(character)
    if character in '"\\':
        return f"\\{character}"
    if 0x20 <= code < 0x7F:
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
