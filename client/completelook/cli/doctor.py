"""`completelook doctor`."""

import typer

from completelook.cli.options import (
    DEFAULT_MODEL_REPOSITORY,
    ModelRepository,
    Server,
    asks_a_server,
)


@asks_a_server
def doctor(
    model_repository: ModelRepository = DEFAULT_MODEL_REPOSITORY,
    *,
    server: Server,
) -> None:
    """Check that a server and this client fit together, and say how to mend what does not."""
    from completelook.clients import diagnose

    failed = False
    for check in diagnose(
        server.address, model_repository=model_repository, credentials=server.credentials
    ):
        mark = typer.style("ok  ", "green") if check.passed else typer.style("FAIL", "red")
        typer.echo(f"{mark}  {check.subject}: {check.finding}")
        failed |= not check.passed
    raise typer.Exit(int(failed))
