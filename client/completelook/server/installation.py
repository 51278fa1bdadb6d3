"""Where a tritonserver is, and what it needs to run.

One with the real backends of a repository's models comes first: the one that the environment
variable TRITONSERVER names, or the one on PATH. Otherwise it is the one of the wheel
nvidia-pytriton, with this package's own `pytorch` backend, which runs TorchScript alone.
"""

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from completelook.errors import EmbeddedServerError
from completelook.server.repository import AOTI, ONNX, TORCHSCRIPT
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
_LIBTORCH = Path("pytorch", "libtriton_pytorch.so")
_LIBRARIES = {TORCHSCRIPT: _LIBTORCH, AOTI: _LIBTORCH, ONNX: Path(ONNX, f"libtriton_{ONNX}.so")}


@dataclass(frozen=True)
class Installation:
    """A tritonserver: its program, the arguments it always takes, its environment."""

    program: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]


def find_installation(runtimes: Collection[str] = (TORCHSCRIPT,)) -> Installation:
    """Find the tritonserver to start for models that these run, names of `runtime_of`.

    Raises:
        EmbeddedServerError: TRITONSERVER names none with their backends, or there is no other and
            the wheel's does not run here or not such models.
    """
    libraries = [_LIBRARIES[each] for each in sorted(runtimes) if each in _LIBRARIES]
    libraries = libraries or [_LIBTORCH]
    named = os.environ.get("TRITONSERVER")
    if named:
        return _named_installation(Path(named), libraries)
    on_path = shutil.which("tritonserver")
    if on_path and not _missing(Path(on_path), libraries):
        return _installed(Path(on_path))
    _check_wheel_runs(runtimes)
    wheel = Wheel.find()
    return Installation(wheel.program, wheel.arguments(), _environment(wheel.environment()))


def _check_wheel_runs(runtimes: Collection[str]) -> None:
    others = [each for each in (AOTI, ONNX) if each in runtimes]
    if others:
        raise EmbeddedServerError(
            f"the models are for Triton's {' and '.join(others)}, which the embedded server does "
            "not have: export them with `--format torchscript`, or name the program of a "
            "tritonserver that has it with TRITONSERVER"
        )


def _named_installation(program: Path, libraries: Sequence[Path]) -> Installation:
    way_out = "name the program of one that has it, or unset it to use the wheel's"
    if not program.is_file():
        raise EmbeddedServerError(f"TRITONSERVER={program} is not a file: {way_out}")
    missing = _missing(program, libraries)
    if missing:
        raise EmbeddedServerError(f"TRITONSERVER={program} comes without {missing[0]}: {way_out}")
    return _installed(program)


def _installed(program: Path) -> Installation:
    backends = _backend_directory(program)
    arguments = (f"--backend-directory={backends}", f"--cache-directory={backends.parent}/caches")
    return Installation(program, arguments, _environment({}))


def _missing(program: Path, libraries: Sequence[Path]) -> list[Path]:
    places = [_backend_directory(program) / library for library in libraries]
    return [place for place in places if not place.is_file()]


def _backend_directory(program: Path) -> Path:
    return program.resolve().parent.parent / "backends"


def _environment(additions: dict[str, str]) -> dict[str, str]:
    return {**TUNING, **os.environ, **additions}
