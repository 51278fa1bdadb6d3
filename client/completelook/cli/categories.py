"""`completelook categories`."""

import typer

from completelook.cli.options import DEFAULT_SERVER, Server


def categories(server: Server = DEFAULT_SERVER) -> None:
    """List the categories the server's model knows."""
    from completelook.clients import CompleteLook

    with CompleteLook(server) as look:
        for name in look.categories():
            typer.echo(name)
