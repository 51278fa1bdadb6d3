"""The one way to write a file: beside its place, synced to disk, then renamed.

Whoever reads the place sees the earlier content or the new one, whole, also after a power cut.
"""

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside a file to write to; when the block ends well, what is there becomes the file.

    Makes the folder where it is missing. Raises OSError.
    """
    with replacing_together() as beside:
        yield beside(path)


@contextmanager
def replacing_together() -> Iterator[Callable[[Path], Path]]:
    """Files that belong together, replaced once the block has ended well and all are on disk.

    Yields what tells the place beside a file to write it to. The files are renamed in the order in
    which they were asked for; where a rename fails, those before it are taken back. No file system
    renames several at once, so a process that is killed in between leaves a part of them: let the
    last one hold the digests of the others, and readers compare. Raises OSError.
    """
    beside: dict[Path, Path] = {}

    def place(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return beside.setdefault(path, _hidden(path, "partial"))

    try:
        yield place
        for written in beside.values():
            sync(written)
        _rename_all(beside)
        for folder in {path.parent for path in beside}:
            sync(folder)
    finally:
        for written in beside.values():
            written.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, `PATH.lock` beside it, that says who holds it; a kill frees it.

    Raises BlockingIOError, whose text says who holds it, and OSError.
    """
    place = path.with_name(f"{path.name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(place)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(place: Path) -> int:
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it before may have removed it between our opening and our locking.
            if place.exists() and place.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            owner = os.pread(descriptor, 1000, 0).decode(errors="replace")
            os.close(descriptor)
            raise BlockingIOError(owner or "another process") from None
        os.close(descriptor)


def _rename_all(beside: Mapping[Path, Path]) -> None:
    """Rename all, or none where one of them fails."""
    earlier: dict[Path, Path] = {}
    try:
        if len(beside) > 1:
            earlier = {path: _hidden(path, "earlier") for path in beside if path.exists()}
            for path, kept in earlier.items():
                kept.unlink(missing_ok=True)
                kept.hardlink_to(path)
        for path, written in beside.items():
            written.replace(path)
    except BaseException:
        for path in (path for path, written in beside.items() if not written.exists()):
            if path in earlier:
                earlier[path].replace(path)
            else:
                path.unlink()
        raise
    finally:
        for kept in earlier.values():
            kept.unlink(missing_ok=True)


def _hidden(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{what}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError."""
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all. Raises OSError."""
    write_bytes(path, text.encode())


def sync(path: Path) -> None:
    """Return once a file, or the names in a folder, are on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Where this user's programs keep what can be made anew; it need not exist."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "completelook"


def sha256(path: Path) -> str:
    """The digest of a file's content, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
