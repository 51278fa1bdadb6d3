"""The options of every command that asks a server: where it is, and what lets a client in."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

if TYPE_CHECKING:
    from completelook.clients import CompleteLook
    from completelook.triton import Credentials


@dataclass(frozen=True)
class Server:
    """The server that a command asks, and what it takes to be let in."""

    address: str
    credentials: "Credentials"

    def connect(self) -> "CompleteLook":
        """A client of it."""
        from completelook.clients import CompleteLook

        return CompleteLook(self.address, credentials=self.credentials)


def asks_a_server(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that reach a server, which it gets as one argument `server`."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    shared = inspect.signature(_server, eval_str=True).parameters

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        server = _server(**{name: arguments.pop(name) for name in shared})
        command(**arguments, server=server)

    parameters = [*(each for each in own if each.name != "server"), *shared.values()]
    # Typer reads both.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


class _Header(click.ParamType):
    name = "header"
    envvar_list_splitter = "\n"  # A value has spaces.


_panel = functools.partial(typer.Option, rich_help_panel="The server")


def _server(
    server: Annotated[
        str,
        _panel(envvar="COMPLETELOOK_SERVER", metavar="HOST:PORT", help="Triton's gRPC endpoint."),
    ] = "localhost:8001",
    tls: Annotated[
        bool, _panel("--tls", envvar="COMPLETELOOK_TLS", help="Trust the usual authorities.")
    ] = False,
    ca: Annotated[
        Path | None,
        _panel(envvar="COMPLETELOOK_CA", metavar="FILE", help="TLS: trust this authority (PEM)."),
    ] = None,
    cert: Annotated[
        Path | None,
        _panel(envvar="COMPLETELOOK_CERT", metavar="FILE", help="One's own certificate (PEM)."),
    ] = None,
    key: Annotated[
        Path | None, _panel(envvar="COMPLETELOOK_KEY", metavar="FILE", help="Its key (PEM).")
    ] = None,
    header: Annotated[
        list[str] | None,
        _panel(
            envvar="COMPLETELOOK_HEADERS",
            metavar="'NAME: VALUE'",
            click_type=_Header(),
            help="Sent with every request, such as a token. May be repeated; the variable holds "
            "one a line, and does not show among the processes.",
        ),
    ] = None,
) -> Server:
    from completelook.triton import Credentials

    headers = {}
    for text in header or ():
        name, colon, value = text.partition(":")
        if not (colon and name.strip()):
            raise typer.BadParameter(f"--header {name!r}: expected 'NAME: VALUE'")
        headers[name.strip()] = value.strip()
    return Server(server, Credentials(tls, ca, cert, key, headers))
