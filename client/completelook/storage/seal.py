"""The seal of a file: a checksum of every block of it, checked when the block is first read.

It lies before the footer of an Arrow file, where no reader of such files looks. The last bytes:

    record batches | end of stream | directory | checksums | tail | footer, its length, "ARROW1"

The checksums (CRC-32, as zlib has it) are of all bytes before the directory, block by block. The
tail has those of the directory with the checksums, of what follows it, and of itself, so that no
byte is without one, and no byte of a column is read to know that.
"""

import hashlib
import io
import json
import mmap
import os
import struct
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32  # zlib's own runs at a seventh of a memory's speed.
from numpy.typing import NDArray

from completelook.errors import CatalogDamaged, CatalogError

BLOCK_BYTES = 1 << 18
# A file written in such pieces, each from a multiple of it on, is kept and mapped by Linux in pages
# of this size where its file system can. It is then searched as fast as memory is, and its first
# touch costs a tenth of what 4 KiB pages cost.
_PAGE_BYTES = 1 << 21
_MAGIC = b"CTLSEAL2"
_ARROW_MAGIC = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
# Magic, size of the file, where the directory begins, how long it is; CRC-32 of directory and
# checksums, of what follows the tail, of the tail before this.
_TAIL = struct.Struct("<8sQQIIII")
_END = struct.Struct("<I6s")  # the footer's length, Arrow's magic


class SealedFile:
    """A sealed file mapped into memory, for as long as anything read from it lives."""

    def __init__(self, path: Path) -> None:
        """Check all of the seal and map the file. Raises CatalogDamaged, OSError."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._stamp = self._stamped()
        size = self._stamp[0]
        self.directory: Mapping[str, Any]
        self._covered, content, checksums = self._unsealed(size)
        self._sealed = content, checksums
        self.directory = json.loads(content)
        self._checksums = np.frombuffer(checksums, "<u4")
        self._is_checked = np.zeros(len(self._checksums), np.bool_)
        self._map = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        with suppress(AttributeError, OSError):  # Of Linux, and not of every one.
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = memoryview(self._map)
        self.buffer = pa.py_buffer(self._map)

    @cached_property
    def digest(self) -> str:
        """Of all that the file holds, by its checksums: no column is read for it."""
        return hashlib.sha256(b"".join(self._sealed)).hexdigest()

    def _unsealed(self, size: int) -> tuple[int, bytes, bytes]:
        """How many bytes the blocks cover, the directory and the checksums."""
        end = self._read(size - _END.size, _END.size)
        footer_bytes, magic = _END.unpack(end) if len(end) == _END.size else (0, b"")
        if magic != _ARROW_MAGIC:
            raise self.damaged("not a catalog, or a part of one")
        tail_start = size - _END.size - footer_bytes - _TAIL.size
        tail = self._read(tail_start, _TAIL.size)
        if len(tail) < _TAIL.size or tail[:8] != _MAGIC:
            raise self.damaged("not a catalog of this format, or a damaged one")
        _, sealed_size, start, length, crc, footer_crc, tail_crc = _TAIL.unpack(tail)
        footer = self._read(tail_start + _TAIL.size, footer_bytes + _END.size)
        if crc32(tail[:-4]) != tail_crc or sealed_size != size or crc32(footer) != footer_crc:
            raise self.damaged("a damaged catalog")
        content = self._read(start, tail_start - start)
        if crc32(content) != crc:
            raise self.damaged("a damaged catalog")
        return start, content[:length], content[length:]

    def check(self, start: int, stop: int) -> None:
        """Let bytes from `start` to `stop` be read. Raises CatalogDamaged where one is damaged."""
        first, last = start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)
        if self._is_checked[first:last].all():
            return
        for block in range(first, last):
            if not self._is_checked[block]:
                begin = block * BLOCK_BYTES
                content = self._bytes[begin : min(begin + BLOCK_BYTES, self._covered)]
                if crc32(content) != self._checksums[block]:
                    self.require_unchanged()
                    raise self.damaged(f"a damaged catalog (at byte {begin} and after)")
                self._is_checked[block] = True

    def check_buffer(self, buffer: pa.Buffer) -> None:
        """`check` for a part of the map."""
        start = buffer.address - self.buffer.address
        self.check(start, start + buffer.size)

    def check_rows(self, numbers: NDArray[Any], start: int, stop: int) -> None:
        """`check` for some rows of an array [n, ...] that lies in the map."""
        begin = numbers.__array_interface__["data"][0] - self.buffer.address
        row_bytes = numbers.strides[0]
        self.check(begin + start * row_bytes, begin + stop * row_bytes)

    def check_all(self) -> None:
        """Check every block, those checked before as well. Raises CatalogDamaged."""
        self._is_checked[:] = False
        self.check(0, self._covered)

    def require_unchanged(self) -> None:
        """Raises CatalogDamaged once somebody has written into the file in place."""
        if self._stamped() != self._stamp:
            raise CatalogDamaged(
                f"{self.path}: was overwritten in place while it was open, so that no answer from "
                "it can be trusted: open it anew, and let `completelook index` or `mv` put a "
                "catalog in another one's place, never `cp`"
            )

    def damaged(self, what: str) -> CatalogDamaged:
        """An error that says what the file is, and the way out."""
        return CatalogDamaged(
            f"{self.path}: {what}: make one with `completelook index PRODUCTS --catalog "
            f"{self.path}`"
        )

    def _stamped(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    def _read(self, start: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, start) if start >= 0 else b""


class Sealing(io.RawIOBase):
    """A file that pyarrow's writer of Arrow files writes to, and that is sealed in the end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._page = bytearray()  # what has been written since the last whole one
        self._position = 0
        self._checksums: list[int] = []
        self._checksum = 0
        self._held: bytearray | None = None
        self._instead: dict[int, Iterable[NDArray[Any]]] = {}  # by a buffer's address

    def tell(self) -> int:
        return self._position

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def put_instead(self, buffer: pa.Buffer, pieces: Iterable[NDArray[Any]]) -> None:
        """Let pieces be written in the place of a buffer, which then need not be in memory."""
        self._instead[buffer.address] = pieces

    def require_put(self) -> None:
        """Raises CatalogError where a buffer was written in whose place pieces should have been."""
        if self._instead:
            raise CatalogError(
                f"pyarrow {pa.__version__} copies what it writes, so that texts and embeddings "
                "would be lost: install the version that constraints.txt names"
            )

    def write(self, content: Any) -> int:
        # pyarrow's writer hands on a column's buffer as it is.
        address = content.address if isinstance(content, pa.Buffer) else None
        size, written = len(memoryview(content)), 0
        for piece in self._instead.pop(address or 0, (content,)):
            view: Any = memoryview(piece)
            written += self._write(view.cast("B"))
        if written != size:
            raise ValueError(f"{written} bytes were put in the place of {size}")
        return size

    def _write(self, view: memoryview) -> int:
        if self._held is not None:
            self._held += view
            return len(view)
        self._put(view)
        done = 0
        while done < len(view):
            piece = view[done : done + BLOCK_BYTES - self._position % BLOCK_BYTES]
            self._checksum = crc32(piece, self._checksum)
            done += len(piece)
            self._position += len(piece)
            if self._position % BLOCK_BYTES == 0:
                self._end_block()
        return len(view)

    def seal(self, writer: Any, directory: Mapping[str, Any]) -> None:
        """Close the Arrow writer, and put the seal before the footer that it writes."""
        self._held = bytearray()
        writer.close()
        footer = bytes(self._held).removeprefix(_END_OF_STREAM)
        self._held = None
        self.write(_END_OF_STREAM)
        if self._position % BLOCK_BYTES:
            self._end_block()
        start = self._position
        content = json.dumps(directory, ensure_ascii=False).encode()
        table: NDArray[np.uint32] = np.array(self._checksums, "<u4")
        sealed = content + table.tobytes()
        size = start + len(sealed) + _TAIL.size + len(footer)
        crcs = crc32(sealed), crc32(footer)
        tail = _TAIL.pack(_MAGIC, size, start, len(content), *crcs, 0)[:-4]
        self._put(sealed + tail + struct.pack("<I", crc32(tail)) + footer)
        self._write_all(self._page)

    def _put(self, content: memoryview | bytes) -> None:
        """Write whole pages, and keep what is left over until there is more of it."""
        missing = _PAGE_BYTES - len(self._page)
        self._page += content[:missing]
        if len(self._page) == _PAGE_BYTES:
            self._write_all(self._page)
            end = len(content) - (len(content) - missing) % _PAGE_BYTES
            self._write_all(memoryview(content)[missing:end])
            self._page = bytearray(content[end:])

    def _write_all(self, content: memoryview | bytearray) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]

    def _end_block(self) -> None:
        self._checksums.append(self._checksum)
        self._checksum = 0
