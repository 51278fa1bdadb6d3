"""The `completelook-build` command line: data, training, evaluation, export."""

import sys
import warnings

import typer
from completelook.errors import CompleteLookError, exit_with

from completelook_build.cli import (
    attention,
    calibrate,
    compare,
    data,
    evaluate,
    export,
    learn,
    sheet,
    train,
)

# The packages that a client alone does not have.
_BUILD_EXTRA = {"matplotlib", "sklearn", "tenacity", "torch", "torchvision", "urllib3"}

app = typer.Typer(
    help="Make the models that completelook serves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    data.showroom,
    data.download,
    data.stats,
    learn.learn,
    train.train,
    evaluate.evaluate,
    calibrate.calibrate,
    compare.compare,
    attention.attention,
    sheet.sheet,
    export.export,
):
    app.command()(command)


def main() -> None:
    """Run the command line; an error a user can mend is one line and exit code 1.

    A UsageError ends with 2, as a wrong option does.
    """
    # Pillow warns of odd metadata in pictures that are as good as any.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except (CompleteLookError, OSError) as error:
        exit_with(error)
    except ModuleNotFoundError as error:
        if error.name not in _BUILD_EXTRA:
            raise
        sys.exit(f"error: {error.name} is not installed: pip install 'completelook[build]'")
