"""Scenes that questions come back to: kept in memory, and in a folder once they are shared."""

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from completelook.explain import shrunk
from completelook.files import write_bytes
from completelook.images import PicturePolicy, open_image
from completelook.triton import SceneEmbedding

# A scene is 100 KB for its regions and 1.3 KB for each category; its photo is counted by itself.
_MOST_SCENES, _MOST_BYTES = 2_000, 256 * 2**20
_MOST_PICTURE_BYTES = 256 * 2**20
_MOST_SHARED_BYTES = 2**30
PICTURE_SIDE = 1200

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by key, those used longest ago forgotten: so many and so many bytes. Thread-safe."""

    def __init__(self, *, most: int, most_bytes: int, bytes_of: Callable[[Value], int]) -> None:
        self._most, self._most_bytes, self._bytes_of = most, most_bytes, bytes_of
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: str) -> Value | None:
        """The value of a key, None where it is not or no longer kept."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._values.clear()
            self._bytes = 0

    def put(self, key: str, value: Value) -> None:
        """Keep a value, at the cost of others."""
        with self._lock:
            earlier = self._values.pop(key, None)
            self._bytes -= 0 if earlier is None else self._bytes_of(earlier)
            self._values[key] = value
            self._bytes += self._bytes_of(value)
            while self._values and (
                len(self._values) > self._most or self._bytes > self._most_bytes
            ):
                _, gone = self._values.popitem(last=False)
                self._bytes -= self._bytes_of(gone)


@dataclass(frozen=True)
class Photo:
    """A scene's photo as it was sent, or as it is shown."""

    content: bytes
    is_shrunk: bool = False


class Scenes:
    """The scenes of a service, by their tensor's digest. Only what is shared is on disk."""

    def __init__(self, folder: Path, policy: PicturePolicy) -> None:
        """`folder` holds the shared ones; it is made when the first is."""
        self._folder = folder
        self._policy = policy
        self._embeddings: Kept[SceneEmbedding] = Kept(
            most=_MOST_SCENES, most_bytes=_MOST_BYTES, bytes_of=_embedding_bytes
        )
        self._photos: Kept[Photo] = Kept(
            most=_MOST_SCENES,
            most_bytes=_MOST_PICTURE_BYTES,
            bytes_of=lambda photo: len(photo.content),
        )

    def remembered(self, token: str) -> SceneEmbedding | None:
        """A scene's embedding out of memory."""
        return self._embeddings.get(token)

    def keep(self, token: str, scene: SceneEmbedding, photo: bytes) -> None:
        """Remember a scene and its photo, for as long as there is room."""
        self._embeddings.put(token, scene)
        if self._photos.get(token) is None:
            self._photos.put(token, Photo(photo))

    def find(self, token: str) -> SceneEmbedding | None:
        """A scene's embedding, out of memory or of the folder; None where it is kept no more."""
        scene = self._embeddings.get(token)
        if scene is None:
            scene = self._read(token)
            if scene is not None:
                self._embeddings.put(token, scene)
        return scene

    def photo(self, token: str) -> bytes | None:
        """A scene's photo in WebP, no side longer than PICTURE_SIDE. Raises ImageError."""
        photo = self._photos.get(token)
        if photo is None:
            try:
                photo = Photo(self._photo_path(token).read_bytes(), is_shrunk=True)
            except OSError:
                return None
        if not photo.is_shrunk:
            photo = Photo(_webp(photo.content, self._policy), is_shrunk=True)
        self._photos.put(token, photo)
        return photo.content

    def share(self, token: str) -> bool:
        """Put a scene into the folder, where it survives a restart; whether it was still kept.

        Raises ImageError, OSError.
        """
        scene, photo = self.find(token), self.photo(token)
        if scene is None or photo is None:
            return False
        write_bytes(self._photo_path(token), photo)
        # The last one: a scene is whole where it is there.
        write_bytes(self._scene_path(token), _packed(scene))
        self._make_room()
        return True

    def _read(self, token: str) -> SceneEmbedding | None:
        try:
            path = self._scene_path(token)
            content = path.read_bytes()
            path.touch()  # It is in use.
            return _unpacked(content, token)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None  # Not there, or damaged, which is no better.

    def _make_room(self) -> None:
        """Drop the shared scenes that were asked for longest ago, once they are too many."""
        held = 0
        for path in sorted(self._folder.glob("*.npz"), key=_modified_s, reverse=True):
            photo = path.with_suffix(".webp")
            with suppress(OSError):
                held += path.stat().st_size + photo.stat().st_size
                if held > _MOST_SHARED_BYTES:
                    path.unlink()
                    photo.unlink()

    def _scene_path(self, token: str) -> Path:
        return self._folder / f"{token}.npz"

    def _photo_path(self, token: str) -> Path:
        return self._folder / f"{token}.webp"


def _arrays(scene: SceneEmbedding) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name in ("embedding", "contexts", "attention", "regions"):
        array = getattr(scene, name)
        if array is not None:
            yield name, array


def _embedding_bytes(scene: SceneEmbedding) -> int:
    return sum(array.nbytes for _, array in _arrays(scene))


def _packed(scene: SceneEmbedding) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, model_id=np.int64(scene.model_id), **dict(_arrays(scene)))
    return buffer.getvalue()


def _unpacked(content: bytes, token: str) -> SceneEmbedding:
    """Raises ValueError, KeyError, EOFError, BadZipFile for what is no scene."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return SceneEmbedding(
            arrays["embedding"],
            arrays["contexts"],
            int(arrays["model_id"]),
            arrays["attention"],
            arrays["regions"],
            picture=token,
        )


def _webp(photo: bytes, policy: PicturePolicy) -> bytes:
    buffer = io.BytesIO()
    shrunk(open_image(photo, policy), PICTURE_SIDE).save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def _modified_s(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
