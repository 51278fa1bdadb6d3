"""What a failed call means: Triton's statuses and texts as this package's errors."""

from tritonclient.utils import InferenceServerException

from completelook.errors import (
    ContractError,
    ServerError,
    ServerOverloaded,
    ServerTimeout,
    ServerUnavailable,
)

_BY_STATUS: dict[str, tuple[type[ServerError], str]] = {
    "DEADLINE_EXCEEDED": (
        ServerTimeout,
        "the server at {server} did not answer within {timeout_s:g} s: it is overloaded or stuck; "
        "send less at once, or allow it more time with timeout_s",
    ),
    "UNIMPLEMENTED": (
        ServerUnavailable,
        "what answers at {server} speaks gRPC but is not Triton ({detail}): give the address of "
        "Triton's gRPC endpoint, port 8001 by default",
    ),
    "NOT_FOUND": (
        ContractError,
        "the server at {server} does not have the model ready ({detail}): export one with "
        "`completelook-build export` and serve that model repository",
    ),
    "INVALID_ARGUMENT": (
        ContractError,
        "the model at {server} refused the request ({detail}): it is another kind of model; "
        "`completelook doctor --server {server}` says more",
    ),
}


def translated(exc: InferenceServerException, server: str, timeout_s: float) -> ServerError:
    """What a failed call at an address means, as an error of this package."""
    status = str(exc.status()).removeprefix("StatusCode.")
    detail = " ".join(str(exc.message()).split())
    if status == "UNAVAILABLE":
        return _unavailable(detail, server)
    if status in _BY_STATUS:
        error, message = _BY_STATUS[status]
        return error(message.format(server=server, detail=detail, timeout_s=timeout_s))
    if "is not healthy" in detail:
        return ServerError(
            f"a model process of the server at {server} has died and stays dead ({detail}): "
            "restart the server"
        )
    return ServerError(
        f"the server at {server} failed with {status}: {detail}; its own log says more"
    )


# Triton's UNAVAILABLE means many things, and only its text tells them apart.
_OVERLOAD = ("Exceeds maximum queue size", "Request timeout expired")
_NOT_GRPC = ("SETTINGS", "HTTP/2", "Socket closed", "reset by peer", "http1.x")


def _unavailable(detail: str, server: str) -> ServerError:
    if any(text in detail for text in _OVERLOAD):
        return ServerOverloaded(
            f"the server at {server} is overloaded and refused the request ({detail}): "
            "send less at once, or try again later"
        )
    if "protocol is restricted" in detail:
        return ServerError(
            f"the server at {server} does not answer this question to anyone ({detail}): "
            "start it without a restriction on model-config, health, metadata and inference"
        )
    if "resolving" in detail:
        return ServerUnavailable(
            f"the host of {server} cannot be found: check the name, and give HOST:PORT"
        )
    if "failed to connect" in detail and any(text in detail for text in _NOT_GRPC):
        return ServerUnavailable(
            f"what answers at {server} does not speak gRPC: give Triton's gRPC port, 8001 by "
            "default, not its HTTP port 8000 or its metrics port 8002"
        )
    if "failed to connect" in detail:
        return ServerUnavailable(
            f"nothing answers at {server}: start a server with `completelook serve`, "
            "or name another one with --server HOST:PORT"
        )
    return ServerUnavailable(
        f"the connection to {server} broke ({detail}): see whether the server still runs"
    )
