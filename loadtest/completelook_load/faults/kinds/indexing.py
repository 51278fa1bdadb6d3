"""`index` that is killed, loses its server, or its disk: what it leaves, and the run after it."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import numpy as np
from completelook import Catalog, CompleteLook
from completelook.catalog import index, ledger_path
from completelook.errors import CatalogError
from completelook.server import EmbeddedServer
from numpy.typing import NDArray

from completelook_load.faults.serve import Serve
from completelook_load.faults.stand import Stand, Truth
from completelook_load.faults.tally import Tally, until
from completelook_load.processes import started

_RUN_S = 150.0  # longer than `index` waits for a server
_TOLERANCE = 1e-4
_DISK_KIB = 2048
_START_S = 120.0


def kill_index(stand: Stand, tally: Tally, times: int) -> None:
    """`index` is killed; the next run must end as if the first had never been."""
    catalog = stand.folder / "shop" / "killed.arrow"
    with EmbeddedServer(stand.repository(), grpc_port=0, metrics_port=0) as server:
        wanted = _wanted(stand, server.grpc_address)
        whole_s = _run(tally, stand, catalog, server.grpc_address)
        for _ in range(times):
            ledger_path(catalog).unlink()
            process = _started(stand, catalog, server.grpc_address)
            time.sleep(random.uniform(0, whole_s))
            process.kill()
            process.communicate()
            killed_s = time.monotonic()
            tally.injected += 1
            check_catalog(tally, catalog, wanted)  # The earlier one, or the new one, whole.
            _run(tally, stand, catalog, server.grpc_address)
            tally.recovered(killed_s)
            check_catalog(tally, catalog, wanted)
            _note_what_is_left(tally, catalog)


def restart_under_index(stand: Stand, tally: Tally, times: int) -> None:
    """The server is killed, or restarted in order, under `index`, which waits for the next."""
    catalog = stand.folder / "shop" / "waited.arrow"
    with Serve(stand.repository()) as serve:
        serve.says("ready:", 0, _START_S)
        wanted = _wanted(stand, serve.address)
        for number in range(times):
            ledger = ledger_path(catalog)
            ledger.unlink(missing_ok=True)
            process = _started(stand, catalog, serve.address)
            # A server that is gone from the start is an error at once, and should be.
            until(ledger.exists, _START_S)
            time.sleep(random.uniform(0.0, 1.0))
            said, gone_s = len(serve.lines), time.monotonic()
            if number % 2:
                serve.stop()
                serve.start()
            else:
                serve.server().kill()
            tally.injected += 1
            _end(tally, process)
            tally.recovered(gone_s)
            check_catalog(tally, catalog, wanted)
            serve.says("ready:", said, _START_S)
    serve.note_what_is_left(tally)


def full_disk(stand: Stand, tally: Tally, times: int) -> None:
    """`index` finds no more room, in the ledger or in the catalog."""
    with EmbeddedServer(stand.repository(), grpc_port=0, metrics_port=0) as server:
        wanted = _wanted(stand, server.grpc_address)
        with _disk(stand.folder / "disk", tally) as disk, CompleteLook(server.grpc_address) as look:
            if disk is None:
                return
            catalog = disk / "catalog.arrow"
            index(str(stand.products), catalog, look)
            for number in range(times):
                ledger_path(catalog).unlink()
                tally.injected += 1
                full_s = time.monotonic()
                with _filled(disk, 4096 * (1 + number)):
                    tally.ask(
                        lambda: index(str(stand.products), catalog, look),
                        lambda report: report.indexed == len(wanted),
                        _RUN_S,
                    )
                    check_catalog(tally, catalog, wanted)
                index(str(stand.products), catalog, look)
                tally.recovered(full_s)
                check_catalog(tally, catalog, wanted)
                _note_what_is_left(tally, catalog)


@contextmanager
def _filled(disk: Path, free_bytes: int) -> Iterator[None]:
    """All but so many bytes of a disk are taken."""
    status, ballast = os.statvfs(disk), disk / "ballast"
    ballast.write_bytes(bytes(status.f_bavail * status.f_frsize - free_bytes))
    try:
        yield
    finally:
        ballast.unlink()


def check_catalog(tally: Tally, path: Path, wanted: dict[str, NDArray[np.float32]]) -> None:
    """Note what a catalog lacks, has twice, or has wrong."""
    try:
        catalog = Catalog.open(path)
        ids = sorted(wanted)
        found = catalog.get(ids).embeddings  # [n, 128]
    except CatalogError as error:
        tally.note("lost", str(error))
        return
    tally.note("doubled", "more products than were given", max(0, len(catalog) - len(ids)))
    differences = np.abs(found - np.stack([wanted[each] for each in ids])).max(axis=1)  # [n]
    tally.note("wrong", "an embedding of another picture", int((differences > _TOLERANCE).sum()))


def _wanted(stand: Stand, address: str) -> dict[str, NDArray[np.float32]]:
    with CompleteLook(address) as look:
        return stand.expected(Truth.of(look, stand.pictures))


def _started(stand: Stand, catalog: Path, address: str) -> "Popen[str]":
    options = ["--catalog", str(catalog), "--server", address]
    return started("index", str(stand.products), *options)


def _run(tally: Tally, stand: Stand, catalog: Path, address: str) -> float:
    """`index` to its end; how long it took."""
    began_s = time.monotonic()
    _end(tally, _started(stand, catalog, address))
    return time.monotonic() - began_s


def _end(tally: Tally, process: "Popen[str]") -> None:
    try:
        said = process.communicate(timeout=_RUN_S)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        tally.note("hung", f"index did not end within {_RUN_S:g} s")
        return
    if process.returncode:
        tally.note("lost", f"index ended with {process.returncode}: {said[-300:]}")
    else:
        tally.answered += 1


def _note_what_is_left(tally: Tally, catalog: Path) -> None:
    left = [path.name for path in catalog.parent.iterdir() if path.suffix in (".partial", ".lock")]
    tally.note("left", ", ".join(left), len(left))


@contextmanager
def _disk(place: Path, tally: Tally) -> Iterator[Path | None]:
    """A small disk of its own; none where this user may not mount one."""
    place.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={_DISK_KIB}k", "none", str(place)]
    mounted = os.geteuid() == 0 and not subprocess.run(["mount", *options], check=False).returncode
    if not mounted:
        tally.notes.append("left out: mounting a small disk takes root")
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
