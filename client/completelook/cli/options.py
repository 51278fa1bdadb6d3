"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Server = Annotated[
    str,
    typer.Option(envvar="COMPLETELOOK_SERVER", metavar="HOST:PORT", help="Triton's gRPC endpoint."),
]
ModelRepository = Annotated[Path, typer.Option(metavar="DIR", help="Triton's model repository.")]
DEFAULT_SERVER = "localhost:8001"
DEFAULT_MODEL_REPOSITORY = Path("model_repository")
