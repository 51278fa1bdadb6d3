"""`completelook web`."""

from pathlib import Path
from typing import Annotated

import typer

from completelook.cli.options import Server, asks_a_server

_limit = "Limits"


@asks_a_server
def web(
    catalog: Annotated[str, typer.Option(metavar="CATALOG", help="Made by `completelook index`.")],
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 is everywhere.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Let in only who sends the token in it, as a Bearer."),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A shop's rules, for questions that bring none."),
    ] = None,
    scenes: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where shared scenes are kept; the user's cache."),
    ] = None,
    max_upload: Annotated[
        int, typer.Option(min=1, metavar="MIB", help="Of one request.", rich_help_panel=_limit)
    ] = 20,
    max_requests: Annotated[
        int, typer.Option(min=1, help="Questions at once.", rich_help_panel=_limit)
    ] = 64,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="For one request.", rich_help_panel=_limit)
    ] = 30.0,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Of one picture.", rich_help_panel=_limit)
    ] = 64_000_000,
    allow_hosts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="Fetch from no other. Repeatable.", rich_help_panel=_limit
        ),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private",
            help="Fetch pictures from private addresses as well.",
            rich_help_panel=_limit,
        ),
    ] = False,
    *,
    server: Server,
) -> None:
    """Serve a catalog over HTTP: rank, look, explain, the products' pictures; Ctrl-C stops it."""
    try:
        from completelook.web import Limits, Settings, serve
    except ModuleNotFoundError as error:
        typer.echo(
            f"error: `completelook web` needs {error.name}: pip install 'completelook[web]'",
            err=True,
        )
        raise typer.Exit(1) from error
    from completelook.files import cache_folder
    from completelook.images import PicturePolicy
    from completelook.ranking import NO_RULES, Rules

    token = None if token_file is None else _token(token_file)
    if token is None and host not in ("127.0.0.1", "::1", "localhost"):
        typer.echo(f"warning: whoever reaches {host} may ask: see --token-file", err=True)
    settings = Settings(
        catalog=catalog,
        server=server.address,
        credentials=server.credentials,
        pictures=PicturePolicy(
            max_pixels, tuple(allow_hosts) if allow_hosts else None, not allow_private
        ),
        limits=Limits(max_upload * 2**20, max_requests, timeout),
        token=token,
        rules=NO_RULES if rules is None else Rules.read(rules),
        scenes=scenes or cache_folder() / "scenes",
    )
    serve(settings, host=host, port=port)


def _token(path: Path) -> str:
    """The one line of a file. Raises typer.BadParameter."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--token-file {path}: cannot be read: {error}") from error
    if not token or not token.isprintable() or not token.isascii() or " " in token:
        raise typer.BadParameter(f"--token-file {path}: expected one word, the token")
    return token
