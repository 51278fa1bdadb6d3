"""`completelook-build showroom`."""

from pathlib import Path
from typing import Annotated

import typer


def showroom(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    scenes: Annotated[int, typer.Option(min=10, help="How many rooms.")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
) -> None:
    """Render rooms and products whose fit follows a hidden rule: data without a download."""
    from completelook_build.showroom import render_showroom

    render_showroom(out, scenes=scenes, seed=seed)
