"""The machine's cores, shared among the instances of a model that run at the same moment.

Every instance is a process with its own threads. Where two of them both use all cores, each waits
at the end of every layer for threads that the other one holds up; with cores of their own they do
not.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

# A lock in the kernel costs no file and ends with its process. Triton's Python backend needs this
# folder as well, and unlike a model repository it is never on another machine.
_FOLDER = "/dev/shm"  # noqa: S108 - opened as a folder, nothing is made in it
_FLOCK = struct.Struct("hhqqi")  # struct flock: kind, what start counts from, start, length, pid
_INSTANCES = 2**22  # as many as Linux has process ids


class _Lock(NamedTuple):
    kind: int
    whence: int
    start: int
    length: int
    pid: int = 0  # must be 0 for locks that belong to an open file


class Cores:
    """An instance's share of the cores: all of them while no other instance of its model runs."""

    def __init__(self, model: str, instance: int, most: int) -> None:
        """Share up to `most` cores among the instances of a model, each with a number of its own.

        Raises OSError where there is no shared memory.
        """
        self._most = most
        self._folder = os.open(_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._first = zlib.crc32(model.encode()) * _INSTANCES
        self._place = self._first + instance % _INSTANCES

    @contextmanager
    def share(self) -> Iterator[int]:
        """Count as running in the block; gives the number of threads to run with, at least 1."""
        self._ask(fcntl.F_OFD_SETLK, fcntl.F_RDLCK, self._place, self._place + 1)
        try:
            others = self._count_running(self._first, self._first + _INSTANCES)
            yield max(1, self._most // (1 + others))
        finally:
            self._ask(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, self._place, self._place + 1)

    def _count_running(self, start: int, end: int) -> int:
        """How many others hold a lock in a range: the kernel names any one of them."""
        if start == end:
            return 0
        found = self._ask(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, start, end)
        if found.kind == fcntl.F_UNLCK:
            return 0
        before = self._count_running(start, found.start)
        return 1 + before + self._count_running(found.start + 1, end)

    def _ask(self, command: int, kind: int, start: int, end: int) -> _Lock:
        lock = _Lock(kind, os.SEEK_SET, start, end - start)
        return _Lock(*_FLOCK.unpack(fcntl.fcntl(self._folder, command, _FLOCK.pack(*lock))))
