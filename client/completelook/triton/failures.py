"""What a failed call means: Triton's statuses and texts as this package's errors."""

from typing import NamedTuple

from tritonclient.utils import InferenceServerException

from completelook.errors import (
    ContractError,
    ServerError,
    ServerOverloaded,
    ServerTimeout,
    ServerUnavailable,
)


class _Meaning(NamedTuple):
    """Of a status, or of a text among those of a status: an error, and whether it passes."""

    error: type[ServerError]
    message: str
    passes: bool = False


_LOCKED = _Meaning(
    ServerError,
    "the server at {server} does not let this client in ({detail}): give the token or key that it "
    "asks for with --header 'NAME: VALUE'",
)
_BY_STATUS = {
    "DEADLINE_EXCEEDED": _Meaning(
        ServerTimeout,
        "the server at {server} did not answer within {timeout_s:g} s: it is overloaded or stuck, "
        "or something between here and there swallows what is sent; send less at once, or allow it "
        "more time with timeout_s",
    ),
    "UNIMPLEMENTED": _Meaning(
        ServerUnavailable,
        "what answers at {server} speaks gRPC but is not Triton ({detail}): give the address of "
        "Triton's gRPC endpoint, port 8001 by default",
    ),
    "NOT_FOUND": _Meaning(
        ContractError,
        "the server at {server} does not have the model ready ({detail}): export one with "
        "`completelook-build export` and serve that model repository",
    ),
    "INVALID_ARGUMENT": _Meaning(
        ContractError,
        "the model at {server} refused the request ({detail}): it is another kind of model; "
        "`completelook doctor --server {server}` says more",
    ),
    "UNAUTHENTICATED": _LOCKED,
    "PERMISSION_DENIED": _LOCKED,
}

_NOT_READY = _Meaning(
    ServerUnavailable,
    "the server at {server} has the model but not ready ({detail}): it is just starting or "
    "stopping; if it stays so, its log says why the model does not load",
)
_OVERLOADED = _Meaning(
    ServerOverloaded,
    "the server at {server} is overloaded and refused the request ({detail}): "
    "send less at once, or try again later",
    passes=True,
)
_UNKNOWN_HOST = _Meaning(
    ServerUnavailable, "the host of {server} cannot be found: check the name, and give HOST:PORT"
)
_NOT_GRPC = _Meaning(
    ServerUnavailable,
    "what answers at {server} does not speak gRPC: give Triton's gRPC port, 8001 by default, not "
    "its HTTP port 8000 or its metrics port 8002",
)
_HANGS_UP = _Meaning(
    ServerUnavailable,
    "what answers at {server} hangs up at once: if it wants TLS, give --tls or --ca FILE, and a "
    "certificate that it asks for with --cert and --key; else it is not Triton's gRPC port, 8001 "
    "by default, or something in front of a server that is down",
)
_BROKEN = _Meaning(
    ServerUnavailable,
    "the connection to {server} broke ({detail}): see whether the server still runs",
    passes=True,
)
# UNAVAILABLE means many things, and only its text tells them apart: the first that fits.
_BY_TEXT = {
    "Exceeds maximum queue size": _OVERLOADED,
    "Request timeout expired": _OVERLOADED,
    "protocol is restricted": _Meaning(
        ServerError,
        "the server at {server} does not answer this question to anyone ({detail}): start it "
        "without a restriction on model-config, health, metadata and inference, or give its key "
        "with --header 'triton-grpc-protocol-KEY: VALUE'",
    ),
    "resolv": _UNKNOWN_HOST,
    "resolution": _UNKNOWN_HOST,
    "certificate has expired": _Meaning(
        ServerUnavailable,
        "the certificate of the server at {server} has expired: renew it there",
    ),
    "CERTIFICATE_VERIFY_FAILED": _Meaning(
        ServerUnavailable,
        "the certificate of the server at {server} is of an authority that is not trusted here: "
        "name the certificate of its authority with --ca FILE",
    ),
    "Hostname Verification": _Meaning(
        ServerUnavailable,
        "the certificate of the server at {server} is for another host: connect by a name that it "
        "is for",
    ),
    "WRONG_VERSION_NUMBER": _Meaning(
        ServerUnavailable,
        "what answers at {server} does not speak TLS: leave out --tls, --ca, --cert and --key",
    ),
    "before receiving SETTINGS": _Meaning(
        ServerUnavailable,
        "something at {server} takes connections and never answers: a server that hangs, or the "
        "port of something else; give Triton's gRPC port, 8001 by default",
    ),
    "SETTINGS": _NOT_GRPC,
    "HTTP/2": _NOT_GRPC,
    "http1.x": _NOT_GRPC,
}
_TO_CONNECT = {
    "Socket closed": _HANGS_UP,
    "reset by peer": _HANGS_UP,
    "refused": _Meaning(
        ServerUnavailable,
        "nothing answers at {server}: start a server with `completelook serve`, or name another "
        "one with --server HOST:PORT",
    ),
    "": _Meaning(
        ServerUnavailable,
        "no connection to {server} comes about: that machine is off, or what lies between, such as "
        "a firewall, swallows what is sent there; check the address, then the network ({detail})",
    ),
}


def translated(exc: InferenceServerException, server: str, timeout_s: float) -> ServerError:
    """What a failed call at an address means, as an error of this package."""
    status = str(exc.status()).removeprefix("StatusCode.")
    detail = " ".join(str(exc.message()).split())
    meaning = _meaning(status, detail)
    error = meaning.error(
        meaning.message.format(server=server, status=status, detail=detail, timeout_s=timeout_s)
    )
    error.passes = meaning.passes
    return error


def _meaning(status: str, detail: str) -> _Meaning:
    if status == "NOT_FOUND" and "no available versions" in detail:
        return _NOT_READY
    if status == "UNAVAILABLE":
        texts = _BY_TEXT | (_TO_CONNECT if "failed to connect" in detail else {"": _BROKEN})
        return next(meaning for text, meaning in texts.items() if text in detail)
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if "is not healthy" in detail:
        return _Meaning(
            ServerUnavailable,
            "a model process of the server at {server} has died and stays dead ({detail}): "
            "restart the server",
        )
    return _Meaning(
        ServerError, "the server at {server} failed with {status}: {detail}; its own log says more"
    )
