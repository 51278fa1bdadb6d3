"""Pictures that are broken, enormous or none at all, among a few that are fine."""

import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pyarrow as pa
from completelook import Catalog, CompleteLook
from completelook.server import EmbeddedServer
from PIL import Image
from pyarrow import csv

from completelook_load.faults.stand import CATEGORIES, Stand
from completelook_load.faults.tally import Tally

# What the kernel tells the parent of a child's memory holds that of the parent as well.
_COMMAND = """
from pathlib import Path
from completelook.cli import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text())
"""
_SKIPPED = 3  # what `index` ends with when it has left out some
_FINE = 6
_RUN_S = 300.0
_MOST_PIXELS_SIDE = 8000  # 64 million pixels, the largest that is read
_MOST_MIB = 700


def bad_pictures(stand: Stand, tally: Tally, times: int) -> None:
    """`index` over bad pictures: each is named with its reason, the others are stored."""
    folder = stand.folder / "bad"
    folder.mkdir(parents=True)
    bad = [_bad(folder, number) for number in range(times)]
    fine = []
    for number in range(_FINE):
        fine.append(folder / f"fine-{number}.png")
        Image.fromarray(stand.pictures[number]).save(fine[-1])
    large = [_zeros(folder / f"large-{number}.png", 3 + number % 2) for number in range(4)]
    table, catalog = folder / "products.csv", stand.folder / "fine.arrow"
    names = [path.name for path in (*bad, *fine, *large)]
    rows = {"id": names, "image": names, "category": [CATEGORIES[0]] * len(names)}
    csv.write_csv(pa.table(rows), table)
    with EmbeddedServer(stand.repository(), grpc_port=0, metrics_port=0) as server:
        with CompleteLook(server.grpc_address) as look:
            look.categories()
        peak_mib = _indexed(tally, table, catalog, server.grpc_address)
    tally.injected = len(bad)
    _compare(tally, catalog, {path.name for path in bad}, {path.name for path in (*fine, *large)})
    tally.notes.append(
        f"{peak_mib:.0f} MiB of memory at most, with {len(large)} pictures of 64 million pixels "
        f"among them; wanted at most {_MOST_MIB}"
    )
    tally.note("left", f"{peak_mib:.0f} MiB of memory", int(peak_mib > _MOST_MIB))


def _indexed(tally: Tally, table: Path, catalog: Path, address: str) -> float:
    """Run `index` to its end; its largest memory in MiB."""
    options = ["--catalog", str(catalog), "--server", address]
    command = [sys.executable, "-c", _COMMAND, "index", str(table), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_S, check=False)
    if done.returncode != _SKIPPED:
        tally.note("lost", f"index ended with {done.returncode}, expected {_SKIPPED}")
    peak = re.search(r"VmHWM:\s*(\d+) kB", done.stdout)
    return int(peak[1]) / 1024 if peak else float("nan")


def _compare(tally: Tally, catalog: Path, bad: set[str], fine: set[str]) -> None:
    failures = csv.read_csv(catalog.with_name(f"{catalog.name}.failures.csv"))
    told = {str(each) for each in failures["id"].to_pylist()}
    opened = Catalog.open(catalog)
    tally.told["skipped with a reason"] = len(told)
    tally.answered = len(opened)
    tally.note("lost", "bad pictures that are nowhere", len(bad - told))
    tally.note("wrong", f"fine, but left out: {sorted(told & fine)}", len(told & fine))
    tally.note("doubled", "more products than pictures", max(0, len(opened) - len(fine)))


def _bad(folder: Path, number: int) -> Path:
    """One of several kinds of bad picture."""
    path = folder / f"bad-{number}.{('jpg', 'png', 'webp')[number % 3]}"
    whole = folder / f"whole{path.suffix}"
    Image.effect_noise((1200, 900), 90).convert("RGB").save(whole)
    content = whole.read_bytes()
    whole.unlink()
    match number % 8:
        case 0:
            path.write_bytes(content[: len(content) // 2])
        case 1:
            path.write_text("<html>not a picture</html>")
        case 2:
            path.touch()
        case 3:
            _zeros(path, 4, _MOST_PIXELS_SIDE + 1400)
        case 4:
            path.symlink_to("/dev/zero")
        case 5:
            path.write_bytes(content[:12] + bytes(len(content)))
        case 6:
            path.mkdir()
        case _:
            path.write_bytes(os.urandom(100_000))
    return path


def _zeros(path: Path, channels: int, side: int = _MOST_PIXELS_SIDE) -> Path:
    """A PNG of many pixels in a few KB, without ever holding it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    packer = zlib.compressobj(9)
    row = bytes(1 + channels * side)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path
