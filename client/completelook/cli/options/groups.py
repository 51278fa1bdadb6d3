"""Options that come in groups: a server, which pictures are read, which parts of one count."""

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
    from completelook.images import PicturePolicy
    from completelook.ranking import Steering
    from completelook.triton import Credentials


@dataclass(frozen=True)
class Server:
    """The server that a command asks, and what it takes to be let in."""

    address: str
    credentials: "Credentials"

    def connect(self, **options: Any) -> "CompleteLook":
        """A client of it, with other options of CompleteLook."""
        from completelook.clients import CompleteLook

        return CompleteLook(self.address, credentials=self.credentials, **options)


Command = Callable[..., None]


def asks_a_server(command: Command) -> Command:
    """Give a command the options that reach a server, which it gets as one argument `server`."""
    return _with_options(command, "server", _server)


def reads_pictures(command: Command) -> Command:
    """Give a command the options of a PicturePolicy, which it gets as one argument `pictures`."""
    return _with_options(command, "pictures", _pictures)


def steers(command: Command) -> Command:
    """Give a command the options of Steering, which it gets as one argument `steering`."""
    return _with_options(command, "steering", _steering)


def _with_options(command: Command, argument: str, build: Callable[..., Any]) -> Command:
    own = inspect.signature(command).parameters.values()
    shared = inspect.signature(build).parameters

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        built = build(**{name: arguments.pop(name) for name in shared})
        command(**arguments, **{argument: built})

    rest = [each for each in own if each.name != argument]
    first = [each for each in rest if each.kind is not each.KEYWORD_ONLY]
    last = [each for each in rest if each.kind is each.KEYWORD_ONLY]
    parameters = [*first, *shared.values(), *last]
    # Typer reads both.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


_PICTURES = "Pictures"


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


def _pictures(
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Pictures of more are not read.", rich_help_panel=_PICTURES)
    ] = 64_000_000,
    allow_hosts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Fetch from no other. Repeatable.",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    deny_private: Annotated[
        bool,
        typer.Option(
            "--deny-private",
            help="Fetch pictures from the public internet alone.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
) -> "PicturePolicy":
    from completelook.images import PicturePolicy

    return PicturePolicy(max_pixels, tuple(allow_hosts) if allow_hosts else None, deny_private)


def _boxes(doing: str) -> Any:
    return typer.Option(
        metavar="LEFT,TOP,RIGHT,BOTTOM",
        help=f"{doing} this part of the photo, in fractions of its width and height: "
        "0,0.5,0.5,1 is the lower left quarter. Repeatable.",
        rich_help_panel="What counts",
    )


def _steering(
    ignore: Annotated[list[str] | None, _boxes("Leave out")] = None,
    focus: Annotated[list[str] | None, _boxes("Look at nothing but")] = None,
) -> "Steering":
    from completelook.ranking import Steering

    def parsed(given: list[str] | None) -> list[Any]:
        return [text.split(",") for text in given or ()]  # What is no box is for it to refuse.

    return Steering(parsed(ignore), parsed(focus))
