"""The page's own files: its style, its scripts and its icon, at addresses that change with them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# With these a browser runs and draws them; guessed from a machine's tables they differ.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Bundle:
    """All files, and what they are told apart by as a whole.

    A script imports its neighbors by their names alone, so the digest stands in the folder's name:
    a browser keeps all of them for good, and asks for none that fits no other.
    """

    digest: str
    files: Mapping[str, File]

    def url(self, name: str) -> str:
        """Where a file is. Raises KeyError for one that is not there."""
        assert name in self.files, name
        return f"/static/{self.digest}/{name}"


@cache
def bundle() -> Bundle:
    """The files that come with the package."""
    found = sorted(files(__package__ or "").joinpath("static").iterdir(), key=lambda at: at.name)
    contents = {
        each.name: File(each.read_bytes(), _MEDIA_TYPES["." + each.name.rpartition(".")[2]])
        for each in found
    }
    digest = hashlib.sha256()
    for name, file in contents.items():
        digest.update(name.encode() + b"\0" + file.content + b"\0")
    return Bundle(digest.hexdigest()[:16], contents)
