"""The command line: parse, call the library, print. Heavy imports wait inside the commands."""

import os
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from completelook.cli import (
    catalog,
    categories,
    doctor,
    gaps,
    index,
    look,
    rank,
    replay,
    serve,
    web,
)
from completelook.errors import CompleteLookError, exit_with

app = typer.Typer(
    help="Rank the products of a catalog that complement a scene photo, category by category.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    serve.serve,
    doctor.doctor,
    categories.categories,
    index.index,
    rank.rank,
    replay.replay,
    look.look,
    gaps.gaps,
    web.web,
):
    app.command()(command)
app.add_typer(catalog.commands, name="catalog")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"completelook {version('completelook')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error a user can cause becomes one line and exit code 1.

    A UsageError, such as an address without a port, ends with 2, as a wrong option does.
    """
    # gRPC's core logs a server that goes away to stderr, beside the error that says so.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Pillow warns of odd metadata in pictures that are as good as any.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except (CompleteLookError, OSError) as exc:
        exit_with(exc)
