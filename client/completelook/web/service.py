"""The service behind the routes: a catalog, the model that answers, and the scenes it remembers."""

import asyncio
import copy
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from completelook.catalog import Catalog, Hits
from completelook.clients import AsyncCompleteLook
from completelook.errors import (
    CatalogDamaged,
    CatalogError,
    CatalogUnavailable,
    CompleteLookError,
)
from completelook.files import cache_folder
from completelook.golden import golden_image
from completelook.images import PicturePolicy, download, load_image, tensor_digest
from completelook.ranking import NO_RULES, Rules, require_options
from completelook.triton import PLAIN, Credentials, SceneEmbedding
from completelook.web.guard import DEFAULT_LIMITS, Limits
from completelook.web.metrics import Metrics
from completelook.web.scenes import Kept, Scenes

# A URL that a user names leads to the public internet alone.
CAREFUL = PicturePolicy(deny_private=True)
_LOOK_AGAIN_S = 5.0  # whether another catalog is in the file's place, and whether all is ready
_DOWNLOADS = 16
_MOST_PICTURES, _MOST_PICTURE_BYTES = 20_000, 128 * 2**20
_log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Settings:
    """What a service is made of."""

    catalog: str  # a file, or milvus://HOST:PORT/NAME
    server: str = "localhost:8001"  # Triton's gRPC endpoint
    credentials: Credentials = PLAIN
    pictures: PicturePolicy = CAREFUL  # which ones are read, of users and of the catalog
    limits: Limits = DEFAULT_LIMITS
    token: str | None = None  # asked of everybody, where there is one
    rules: Rules = NO_RULES  # of questions that bring none of their own
    scenes: Path = field(default_factory=lambda: cache_folder() / "scenes")  # the shared ones


def _decoded(photo: bytes, policy: PicturePolicy) -> tuple[NDArray[np.uint8], str]:
    """A photo's tensor [224, 224, 3] and its digest, the scene's token. Raises ImageError."""
    tensor = load_image(photo, policy)
    return tensor, tensor_digest(tensor)


class SceneGone(HTTPException):
    """A scene that is kept no more, or never was."""

    def __init__(self) -> None:
        super().__init__(410, "the scene is kept no more: send its photo again")


class NoSuchProduct(HTTPException):
    """A product that the catalog does not hold."""

    def __init__(self, ids: Sequence[str]) -> None:
        super().__init__(404, f"the catalog does not hold {', '.join(map(repr, ids))}")


def products_of(catalog: Catalog, ids: Sequence[str]) -> Hits:
    """The products of some ids. Raises NoSuchProduct, CatalogDamaged, CatalogUnavailable."""
    try:
        return catalog.get(ids)
    except (CatalogDamaged, CatalogUnavailable):
        raise
    except CatalogError as error:
        raise NoSuchProduct(ids) from error


class Service:
    """What the routes share. It belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Open the catalog; nothing is sent yet. Raises CatalogError, UsageError."""
        self.settings = settings
        self.catalog = Catalog.open(settings.catalog)
        require_options(self.catalog, rules=settings.rules)
        self.metrics = Metrics()
        self.scenes = Scenes(settings.scenes, settings.pictures)
        self.pictures: Kept[bytes] = Kept(  # of products, as they are shown
            most=_MOST_PICTURES, most_bytes=_MOST_PICTURE_BYTES, bytes_of=len
        )
        self.look = AsyncCompleteLook(
            settings.server,
            timeout_s=settings.limits.time_s,
            credentials=settings.credentials,
            pictures=settings.pictures,
        )
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, "completelook-web-download")
        # Of their own, so that large photos hold up no ranking of a scene that is known.
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, "completelook-web-decode")
        self._readiness = asyncio.Lock()
        self._looked_s = -_LOOK_AGAIN_S
        self._trouble: CompleteLookError | None = None

    async def close(self) -> None:
        """End the connection to the model."""
        for pool in (self._downloads, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)
        await self.look.close()

    async def scene_of(self, photo: bytes) -> tuple[str, SceneEmbedding]:
        """A photo's token and embedding, with regions; the model is asked only for a new one.

        Raises ImageError, ModelMismatch, ServerError.
        """
        tensor, token = await asyncio.get_running_loop().run_in_executor(
            self._decoders, _decoded, photo, self.settings.pictures
        )
        scene = self.scenes.remembered(token)
        source = "memory"
        if scene is None or scene.model_id != self.catalog.model_id:
            scene = await self.look.embed_scene(tensor, regions=True)
            self.metrics.inferences.inc()
            self.catalog.require_model(scene.model_id, self.settings.server)
            source = "photo"
        self.metrics.scenes.labels(source).inc()
        self.scenes.keep(token, scene, photo)
        return token, scene

    async def scene_again(self, token: str) -> SceneEmbedding:
        """A scene by its token, without asking the model. Raises SceneGone."""
        scene = self.scenes.remembered(token) or await asyncio.to_thread(self.scenes.find, token)
        if scene is None or scene.model_id != self.catalog.model_id:
            raise SceneGone
        self.metrics.scenes.labels("token").inc()
        return scene

    async def download(self, url: str) -> bytes:
        """What lies at a URL. Raises ImageError."""
        return await self.in_download_thread(download, url, self.settings.pictures)

    async def in_download_thread(
        self, call: Callable[Arguments, Result], *args: Arguments.args, **_: Arguments.kwargs
    ) -> Result:
        """A call that may wait for another host, so that it holds up none that does not."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._downloads, call, *args)

    async def trouble(self) -> CompleteLookError | None:
        """Why the service cannot answer now, None where it can; found out every few seconds."""
        async with self._readiness:
            if time.monotonic() - self._looked_s >= _LOOK_AGAIN_S:
                self._trouble = await self._find_trouble()
                self._looked_s = time.monotonic()
            return self._trouble

    async def _find_trouble(self) -> CompleteLookError | None:
        try:
            # Triton calls a model ready whose process has died: only an answer shows that it lives.
            scene = await self.look.embed_scene(golden_image())
            self.catalog.require_model(scene.model_id, self.settings.server)
        except CompleteLookError as error:
            return error
        return None

    async def watch_catalog(self) -> None:
        """Go over to a catalog that takes the place of the one opened, for ever."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            try:
                # A copy, so that questions under way keep to the one they began with.
                fresh = copy.copy(self.catalog)
                if await asyncio.to_thread(fresh.refresh):
                    self._go_over(fresh)
            except CompleteLookError as error:
                _log.warning("the catalog is kept as it was: %s", error)

    def _go_over(self, fresh: Catalog) -> None:
        self.catalog = fresh
        self.pictures.clear()

    def without_places(self, text: str) -> str:
        """A text for strangers: where the catalog and the model are is not for them."""
        places = {
            self.catalog.info.location: "the catalog",
            self.settings.server: "the server",
            self.settings.rules.source: "rules",
        }
        for place, name in places.items():
            text = text.replace(place, name)
        return text
