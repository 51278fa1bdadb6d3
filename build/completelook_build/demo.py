"""The whole product once, from nothing: what `make demo` runs.

Every step is a command that a user could type, and is printed as such. What an earlier run left is
used again.
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

from completelook import Catalog
from completelook.errors import CompleteLookError, exit_with
from completelook.golden import GoldenRecord
from completelook.server import EmbeddedServer

from completelook_build.errors import DataError

DEMO = Path("demo")
SHOWROOM = DEMO / "showroom"
MODEL = DEMO / "model"
CATALOG = DEMO / "catalog.arrow"
PAGE = DEMO / "room.html"
REPOSITORY = Path("model_repository")
_DATA = f"--data {SHOWROOM}"

_NEXT = f"""
Open {PAGE} to see where the model looked in the room.

Next, with your own pictures (.venv/bin holds the commands):

  completelook serve                                      # in one terminal
  completelook doctor                                     # in another
  completelook index products.csv --catalog my.arrow      # columns id, image, category
  completelook rank room.jpg --catalog my.arrow --html my.html
  completelook web --catalog my.arrow                     # all that in a browser
"""


def main() -> None:
    """Render, train, evaluate, export, serve, index and rank."""
    if not SHOWROOM.exists():
        run(f"completelook-build showroom {SHOWROOM} --scenes 300")
    if not (MODEL / "model.json").exists():
        backbone = "--backbone efficientnet-lite0 --epochs 20"
        run(f"completelook-build train {_DATA} --out {MODEL} {backbone}")
    run(f"completelook-build evaluate --model {MODEL} {_DATA}")
    if not _is_exported():
        run(f"completelook-build export --model {MODEL} --model-repository {REPOSITORY}")
    print(f"\n$ completelook serve --model-repository {REPOSITORY}", flush=True)
    with EmbeddedServer(REPOSITORY, grpc_port=0, metrics_port=0) as server:
        print(f"ready at {server.grpc_address}")
        at = f"--server {server.grpc_address}"
        if not _is_indexed():
            run(f"completelook index {SHOWROOM}/products.csv --catalog {CATALOG} {at}")
        scene = SHOWROOM / "images" / f"{_test_scene()}.jpg"
        run(f"completelook rank {scene} --catalog {CATALOG} --top 3 --html {PAGE} {at}")
    print(_NEXT)


def run(command: str) -> None:
    """Print a command, then run it; the demo ends with it where it fails."""
    print(f"\n$ {command}", flush=True)
    program, *arguments = shlex.split(command)
    finished = subprocess.run([Path(sys.executable).with_name(program), *arguments], check=False)
    if finished.returncode:
        raise SystemExit(finished.returncode)


def _model_id() -> int:
    card = json.loads((MODEL / "model.json").read_text(encoding="utf-8"))["card"]
    return int(card["model_id"], 16)


def _is_exported() -> bool:
    record = GoldenRecord.read(REPOSITORY)
    if record is None or record.model_id != _model_id():
        return False
    return not record.changed_files(REPOSITORY)


def _is_indexed() -> bool:
    return CATALOG.exists() and Catalog.open(CATALOG).model_id == _model_id()


def _test_scene() -> str:
    """A room that nobody trained on."""
    splits = json.loads((SHOWROOM / "splits.json").read_text(encoding="utf-8"))
    if not splits["test"]:
        raise DataError(f"{SHOWROOM}: no test scene; remove the folder and run the demo again")
    return str(splits["test"][0])


if __name__ == "__main__":
    try:
        main()
    except CompleteLookError as error:
        exit_with(error)
