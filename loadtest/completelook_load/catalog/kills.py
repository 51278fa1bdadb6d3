"""`index` killed at random moments and run again: the catalog must be that of one run, to the bit.

The embedder is made up, since a server's last bits depend on which pictures share a batch.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from completelook.catalog import ArrowCatalog, ledger_path
from completelook_build.console import say
from PIL import Image

from completelook_load.catalog.shop import CATEGORIES
from completelook_load.inputs import REPORTS

_COMMAND = "from completelook_load.catalog.process import main; main()"


def main(
    pictures: Annotated[int, typer.Option(min=1)] = 2_000,
    times: Annotated[int, typer.Option(min=1, help="How often it is killed.")] = 20,
) -> None:
    """Kill `index` with SIGKILL, run it again, and compare what comes of it.

    Exit code 1: a catalog was not the one that is made without a kill.
    """
    REPORTS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=REPORTS))
    try:
        table = _shop(folder, pictures)
        whole = folder / "whole.arrow"
        whole_s = _indexed(table, whole)
        kept = [_killed(table, folder / f"{number}.arrow", whole_s) for number in range(times)]
        wrong = sum(
            _content(folder / f"{number}.arrow") != _content(whole) for number in range(times)
        )
    finally:
        shutil.rmtree(folder)
    say(f"{times} kills within {whole_s:.1f} s over {pictures} pictures: {wrong} catalogs differ")
    say(f"embeddings that the ledger had kept: {', '.join(map(str, sorted(kept)))}")
    if wrong:
        raise typer.Exit(1)


def _shop(folder: Path, pictures: int) -> Path:
    """A table of products, each with a picture of its own."""
    lines = ["id,image,category"]
    for number in range(pictures):
        name = f"{number:06d}.png"
        Image.new("RGB", (8, 8), (number >> 16, number >> 8 & 255, number & 255)).save(
            folder / name
        )
        lines.append(f"sku-{number},{name},{CATEGORIES[number % len(CATEGORIES)]}")
    table = folder / "products.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return table


def _killed(table: Path, catalog: Path, whole_s: float) -> int:
    """Kill an indexing and run it again; how many embeddings the second one found."""
    process = _started(table, catalog)
    time.sleep(random.uniform(0, whole_s))
    process.kill()
    process.communicate()
    is_begun = ledger_path(catalog).exists()
    done = _started(table, catalog).communicate()[0]
    return int(done.split()[-1]) if is_begun else 0


def _indexed(table: Path, catalog: Path) -> float:
    started_s = time.monotonic()
    _started(table, catalog).communicate()
    return time.monotonic() - started_s


def _started(table: Path, catalog: Path) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", _COMMAND, "index files", str(catalog), str(table)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def _content(path: Path) -> tuple[list[str], bytes]:
    """Every id, and the embeddings' bytes in their order. Raises CatalogError."""
    catalog = ArrowCatalog(path)
    catalog.validate()
    table = catalog.content.table()
    ids: list[Any] = table["id"].to_pylist()
    return ids, catalog.get(ids).embeddings.tobytes()


if __name__ == "__main__":
    typer.run(main)
