"""`completelook serve`."""

from typing import Annotated

import typer

from completelook.cli.options import DEFAULT_MODEL_REPOSITORY, ModelRepository


def serve(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- ARGS]", help="Passed on to tritonserver as they are."),
    ] = None,
    model_repository: ModelRepository = DEFAULT_MODEL_REPOSITORY,
    grpc_port: Annotated[int, typer.Option(help="Where the client connects.")] = 8001,
    http: Annotated[
        bool,
        typer.Option(
            "--http",
            help="HTTP as well. The client needs none, and tritonserver 2.51 dies of one request "
            "that any web page can send.",
        ),
    ] = False,
    http_port: Annotated[int, typer.Option(help="With --http.")] = 8000,
    metrics_port: Annotated[int, typer.Option()] = 8002,
) -> None:
    """Start the embedded Triton server; Ctrl-C stops it."""
    from completelook.server import serve_until_stopped

    serve_until_stopped(
        model_repository,
        grpc_port=grpc_port,
        http_port=http_port if http else None,
        metrics_port=metrics_port,
        arguments=arguments or [],
    )
