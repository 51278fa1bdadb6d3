"""Running docs/notebook.ipynb: `make notebook` on what `make demo` leaves, tests on their own."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from completelook.server import EmbeddedServer
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"


def run_notebook(folder: Path, server: str) -> Any:
    """The notebook with what its cells give, run in a folder with `../demo` beside it.

    Raises nbclient.exceptions.CellExecutionError where a cell fails.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with TemporaryDirectory() as sockets:
        # Between the two processes are files, no open ports.
        manager = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        client = NotebookClient(
            notebook,
            timeout=120,
            record_timing=False,  # It would be another one after each run.
            config=Config({"KernelManager": manager}),
            resources={"metadata": {"path": str(folder)}},
        )
        client.execute(env={**os.environ, "COMPLETELOOK_SERVER": server})
    notebook.metadata.language_info = {"name": "python"}  # whatever version it ran on
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            _keep_one_form(output)
    return notebook


def _keep_one_form(output: Any) -> None:
    """Of a result's forms the one that is shown: the others are larger, and hold full paths."""
    data = output.get("data", {})
    for form in ("text/html", "image/jpeg"):
        if form in data:
            output.data = {form: data[form]}
            return


def main() -> None:
    """Run it on the demo, and write it with what its cells give."""
    with EmbeddedServer("model_repository", grpc_port=0, metrics_port=0) as server:
        executed = run_notebook(NOTEBOOK.parent, server.grpc_address)
    nbformat.write(executed, NOTEBOOK)


if __name__ == "__main__":
    main()
