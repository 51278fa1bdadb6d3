"""The tritonserver of the wheel nvidia-pytriton, and the backend folder it gets.

The wheel has the Python backend alone, and keeps its parts where tritonserver does not look for
them. Triton refuses a backend that is a link to elsewhere, so the folder is made of copies (3 MB),
in the user's cache.
"""

import ctypes.util
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from completelook.errors import EmbeddedServerError
from completelook.files import cache_folder

_GLIBC_NEEDED = (2, 35)
_INSTALL = "pip install 'completelook[server]'"
_ELSEWHERE = "run a Triton container elsewhere, and name it with --server HOST:PORT"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_STUB = "triton_python_backend_stub"
_STUB_TIMEOUT_S = 120
_PYTORCH_BACKEND = Path(__file__).parent / "pytorch_backend"
# Memory that a model instance shares with its stub, and the step by which it grows. Triton's 1 MB
# would grow many times on the way to a batch of feature maps.
_SHARED_MEMORY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Wheel:
    """What the wheel's tritonserver is started from."""

    program: Path
    libraries: Path
    caches: Path
    backend_files: dict[str, Path]

    @classmethod
    def find(cls) -> "Wheel":
        """Find the installed wheel and make sure that it runs here.

        Raises:
            EmbeddedServerError: the platform, the Python or the packages are not what it needs.
        """
        _check_platform()
        _check_packages()
        package = _package_folder("pytriton")
        root = package / "tritonserver"
        backend = root / "backends" / "python"
        files = {
            "python/libtriton_python.so": backend / "libtriton_python.so",
            "python/triton_python_backend_utils.py": backend / "triton_python_backend_utils.py",
            f"python/{_STUB}": _find_stub(root / "python_backend_stubs"),
            **{f"pytorch/{file.name}": file for file in _PYTORCH_BACKEND.glob("[!_]*.py")},
        }
        libraries = package.parent / "nvidia_pytriton.libs"
        return cls(root / "bin" / "tritonserver", libraries, root / "caches", files)

    def arguments(self) -> tuple[str, ...]:
        """What this server is always started with; the backend folder is assembled on the way."""
        return (
            f"--backend-directory={_assemble(self.backend_files)}",
            f"--cache-directory={self.caches}",
            # libtorch completes no configuration either, and every stub would be started twice.
            "--disable-auto-complete-config",
            f"--backend-config=python,stub-timeout-seconds={_STUB_TIMEOUT_S}",
            f"--backend-config=python,shm-default-byte-size={_SHARED_MEMORY_BYTES}",
            f"--backend-config=python,shm-growth-byte-size={_SHARED_MEMORY_BYTES}",
        )

    def environment(self) -> dict[str, str]:
        """Lead the stubs to this Python: to its packages by PATH, to libpython as a library."""
        libraries = [str(self.libraries), _libpython_folder(), os.environ.get("LD_LIBRARY_PATH")]
        programs = [str(Path(sys.executable).parent), os.environ.get("PATH")]
        return {
            "PATH": os.pathsep.join(filter(None, programs)),
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        }


def _check_platform() -> None:
    system = f"{sys.platform} {platform.machine()}"
    if system != "linux x86_64":
        raise EmbeddedServerError(
            f"the embedded server runs on linux x86_64, not on {system}: {_ELSEWHERE}"
        )
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) < _GLIBC_NEEDED:
        found = f"{library} {version}".strip() or "another C library"
        raise EmbeddedServerError(
            f"the embedded server needs glibc 2.35 or newer, not {found}: "
            f"use a newer Linux (Debian 12, Ubuntu 22.04), or {_ELSEWHERE}"
        )


def _check_packages() -> None:
    missing = [name for name in ("pytriton", "torch") if not importlib.util.find_spec(name)]
    if missing:
        raise EmbeddedServerError(
            f"the embedded server needs {' and '.join(missing)}, not installed here: {_INSTALL}"
        )
    numpy_version = importlib.metadata.version("numpy")
    if int(numpy_version.split(".")[0]) >= 2:
        raise EmbeddedServerError(
            f"the embedded server needs NumPy below 2, not {numpy_version}, with which its Python "
            "backend gives empty answers: pip install 'numpy<2'"
        )


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedServerError(f"package {name} is damaged: {_INSTALL} --force-reinstall")
    return Path(spec.origin).parent


def _find_stub(stubs: Path) -> Path:
    stub = stubs / _PYTHON / _STUB
    if not stub.exists():
        known = sorted((folder.name for folder in stubs.iterdir()), key=lambda name: int(name[2:]))
        raise EmbeddedServerError(
            f"the embedded server runs on Python {known[0]} to {known[-1]}, not on {_PYTHON}: "
            "use one of those"
        )
    return stub


def _libpython_folder() -> str:
    """The folder of libpython; empty where the system finds the library by itself."""
    name = f"libpython{_PYTHON}"
    folder = str(sysconfig.get_config_var("LIBDIR") or "")
    if Path(folder, f"{name}.so.1.0").exists():
        return folder
    if ctypes.util.find_library(name.removeprefix("lib")):
        return ""
    raise EmbeddedServerError(
        f"the embedded server needs {name}.so.1.0, which is neither in {folder} nor known to the "
        f"system: install it (Debian: {name}), or use a Python built with --enable-shared"
    )


def _assemble(files: dict[str, Path]) -> Path:
    """Copy the files into a folder of the user's cache, named by their contents."""
    contents = hashlib.sha256()
    for name, file in sorted(files.items()):
        contents.update(name.encode() + file.read_bytes())
    folder = cache_folder() / "backends" / contents.hexdigest()[:16]
    try:
        if not folder.exists():
            _copy_all(files, folder)
    except OSError as exc:
        raise EmbeddedServerError(
            f"cannot write the server's backends to {folder} ({exc.strerror}): "
            "set XDG_CACHE_HOME to a folder that you can write to"
        ) from exc
    return folder


def _copy_all(files: dict[str, Path], folder: Path) -> None:
    """Fill the folder under another name: a server starting meanwhile must not see half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        part = Path(scratch, folder.name)
        for name, file in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, part / name)
        try:
            part.rename(folder)
        except OSError:
            # Another process was faster, with the same contents.
            if not folder.exists():
                raise
