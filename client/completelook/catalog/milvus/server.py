"""A Milvus server: every call with a deadline, every failure one of ours, every text quoted."""

import logging
import os
from typing import Any

from completelook.catalog.milvus.address import Address
from completelook.errors import CatalogError, CatalogUnavailable

READ_TIMEOUT_S = 10.0
# A write is worth waiting for a server that starts anew: its log takes 10 to 20 s to be read.
WRITE_TIMEOUT_S = 60.0
_TOKEN = "COMPLETELOOK_MILVUS_TOKEN"

_NOT_FOUND = 100


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
            uri=f"http://{address.server}",
            token=os.environ.get(_TOKEN, ""),
            timeout=READ_TIMEOUT_S,
        )

    def read(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The result of a method that changes nothing. Raises CatalogError."""
        call = getattr(self._client, method)
        return self._translated(call, *arguments, timeout=READ_TIMEOUT_S, **options)

    def write(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The result of a method that may be repeated. Raises CatalogError."""
        call = getattr(self._client, method)
        return self._translated(call, *arguments, timeout=WRITE_TIMEOUT_S, **options)

    def _translated(self, call: Any, *arguments: Any, **options: Any) -> Any:
        import grpc

        try:
            return call(*arguments, **options)
        except grpc.RpcError as error:
            raise self._unavailable(error.code().name) from error
        except self._failure as error:
            code: Any = getattr(error, "code", None)
            message = str(getattr(error, "message", error))
            if code == _NOT_FOUND:
                raise CollectionMissing(f"{self._address}: {message}") from error
            if isinstance(code, grpc.StatusCode):
                raise self._unavailable(code.name) from error
            if "Fail connecting" in message or "Retry timeout" in message:
                raise self._unavailable(message) from error
            if "auth" in message:
                raise CatalogError(
                    f"{self._address}: {message}: put USER:PASSWORD into {_TOKEN}"
                ) from error
            raise CatalogError(f"{self._address}: Milvus refuses: {message}") from error

    def _unavailable(self, what: str) -> CatalogUnavailable:
        return CatalogUnavailable(
            f"no answer from Milvus at {self._address.server} ({what}): start it, or mend the "
            "address"
        )


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
