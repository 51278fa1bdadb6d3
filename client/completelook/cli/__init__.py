"""The command line: parse, call the library, print. Heavy imports wait inside the commands."""

import os
import sys

import typer

from completelook.cli import categories, doctor, index, rank, serve
from completelook.errors import CompleteLookError

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
):
    app.command()(command)


def main() -> None:
    """Run the command line; an error a user can cause becomes one line and exit code 1."""
    # gRPC's core logs a server that goes away to stderr, beside the error that says so.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        app()
    except (CompleteLookError, OSError) as exc:
        typer.echo(f"error: {' '.join(str(exc).split())}", err=True)
        sys.exit(1)
