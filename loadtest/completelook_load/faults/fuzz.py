"""`make fuzz`: bytes that grow towards new code, for what reads pictures, catalogs and tables.

Each target runs in a process of its own, since libFuzzer ends it, and only for so many seconds.
What ends in anything but an answer or an error of this package is kept below loadtest/reports.
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import atheris
import typer

# Before they are imported, so that the fuzzer sees which branches the bytes take.
with atheris.instrument_imports(include=["completelook", "PIL"], enable_loader_override=False):
    import numpy as np
    import pyarrow as pa
    from completelook import CompleteLookError, load_image
    from completelook.catalog import ArrowCatalog, write_catalog
    from completelook.products import read_products
    from completelook_build.console import say
    from PIL import Image

    from completelook_load.inputs import REPORTS

_MODULE = "completelook_load.faults.fuzz"
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
_TABLE = b'id,image,category\n1,a.jpg,Rugs\n2,"b\n.jpg",Lamps\n'


def _read_picture(content: bytes) -> None:
    pixels = load_image(content)
    if pixels.shape != (224, 224, 3):
        raise ValueError(f"a tensor of shape {pixels.shape}")


def _read_catalog(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
        file.write(content)
        file.flush()
        catalog = ArrowCatalog(file.name)
        for category in catalog.info.category_counts:
            catalog.search(np.eye(1, 128, dtype=np.float32)[0], category, top=3)
        catalog.validate()


def _read_table(content: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(content)
        file.flush()
        read_products(Path(file.name))


def _pictures() -> list[bytes]:
    colors = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    found = []
    for form in _FORMATS:
        buffer = io.BytesIO()
        Image.fromarray(colors).save(buffer, form)
        found.append(buffer.getvalue())
    return found


def _catalogs() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "catalog.arrow")
        products = pa.table({"id": ["a", "b"], "category": ["X", "Y"], "image": ["a", "b"]})
        vectors = np.eye(2, 128, dtype=np.float32)
        write_catalog(path, products, vectors, model_id=1, categories=("X", "Y"))
        return [path.read_bytes()]


# What each target reads, and what it starts from.
_TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "pictures": (_read_picture, _pictures),
    "catalogs": (_read_catalog, _catalogs),
    "tables": (_read_table, lambda: [_TABLE]),
}


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target; ends this process, with 0 where nothing was found."""
    read, seeds = _TARGETS[name]
    place = REPORTS / "fuzz" / name
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def one(content: bytes) -> None:
        with suppress(CompleteLookError):
            read(content)

    options = [f"-max_total_time={seconds}", f"-artifact_prefix={place}/", "-timeout=10"]
    options += ["-rss_limit_mb=4096", "-max_len=20000", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def main(
    only: Annotated[str | None, typer.Option(metavar="NAME", help=", ".join(_TARGETS))] = None,
    seconds: Annotated[int, typer.Option(min=1, help="For each.")] = 60,
) -> None:
    """Fuzz what reads pictures, catalogs and tables; exit code 1 where something was found."""
    if only in _TARGETS:
        fuzz(only, seconds)
    found = []
    for name in _TARGETS:
        say(f"{name}: {seconds} s")
        options = ["--only", name, "--seconds", str(seconds)]
        ended = subprocess.run([sys.executable, "-m", _MODULE, *options], check=False)
        found += [name] * bool(ended.returncode)
    if found:
        say(f"found something in {', '.join(found)}: see {REPORTS / 'fuzz'}")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
