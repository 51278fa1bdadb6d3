"""Where a tritonserver is, and what it needs to run.

One with a real libtorch backend comes first: the one that the environment variable TRITONSERVER
names, or the one on PATH. Otherwise it is the one of the wheel nvidia-pytriton, with this package's
own `pytorch` backend.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from completelook.errors import EmbeddedServerError
from completelook.server.wheel import Wheel

# Of the server's environment; what the user has set goes before these.
TUNING = {
    # OpenMP's threads spin while they wait: with one busy core, models get many times slower. Not
    # to spin at all slows a single request down, which has little to do between two waits.
    "OMP_WAIT_POLICY": "ACTIVE",
    "GOMP_SPINCOUNT": "1500",
    # glibc would give the memory of every large tensor back, and the kernel clear it anew for the
    # next one.
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
_LIBTORCH_BACKEND = Path("pytorch", "libtriton_pytorch.so")


@dataclass(frozen=True)
class Installation:
    """A tritonserver: its program, the arguments it always takes, its environment."""

    program: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]


def find_installation() -> Installation:
    """Find the tritonserver to start.

    Raises:
        EmbeddedServerError: TRITONSERVER names none with a libtorch backend, or there is no other
            and the wheel's does not run here.
    """
    named = os.environ.get("TRITONSERVER")
    if named:
        return _named_installation(Path(named))
    on_path = shutil.which("tritonserver")
    if on_path and _has_libtorch(Path(on_path)):
        return _libtorch_installation(Path(on_path))
    wheel = Wheel.find()
    return Installation(wheel.program, wheel.arguments(), _environment(wheel.environment()))


def _named_installation(program: Path) -> Installation:
    way_out = "name the program of one with the libtorch backend, or unset it to use the wheel's"
    if not program.is_file():
        raise EmbeddedServerError(f"TRITONSERVER={program} is not a file: {way_out}")
    if not _has_libtorch(program):
        missing = _backend_directory(program) / _LIBTORCH_BACKEND
        raise EmbeddedServerError(f"TRITONSERVER={program} comes without {missing}: {way_out}")
    return _libtorch_installation(program)


def _libtorch_installation(program: Path) -> Installation:
    backends = _backend_directory(program)
    arguments = (f"--backend-directory={backends}", f"--cache-directory={backends.parent}/caches")
    return Installation(program, arguments, _environment({}))


def _has_libtorch(program: Path) -> bool:
    return (_backend_directory(program) / _LIBTORCH_BACKEND).is_file()


def _backend_directory(program: Path) -> Path:
    return program.resolve().parent.parent / "backends"


def _environment(additions: dict[str, str]) -> dict[str, str]:
    return {**TUNING, **os.environ, **additions}
