"""The client for services that wait in an event loop; it shares all but the waiting."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog
from completelook.clients.client import SCENES_IN_FLIGHT, stacked
from completelook.clients.served_model import Configuration, ServedModel
from completelook.concurrency import map_tasks_in_flight
from completelook.contract import EMBED_PRODUCT, EMBED_SCENE, EXPLAIN_SCENE, Model
from completelook.errors import ImageError
from completelook.images import (
    ANY_PICTURE,
    CONNECTIONS_PER_HOST,
    ImageSource,
    PicturePolicy,
    download,
    host_of,
    is_tensor,
    is_url,
    load_image,
    tensor_digest,
)
from completelook.ranking import (
    NO_STEERING,
    Calibration,
    LookOptions,
    Looks,
    RankedScene,
    Ranking,
    RankOptions,
    categories_to_rank,
    complete_photo,
    rank_photos,
    require_look_options,
    require_options,
)
from completelook.triton import (
    PLAIN,
    AsyncConnection,
    Credentials,
    ProductEmbedding,
    SceneEmbedding,
)

# As many as a server works on and lets wait; the others wait here, undecoded.
_IN_FLIGHT = 64
# Downloads have threads of their own: a host that drips holds up no picture that is at hand, and as
# it has no more of them than it may have connections, none of another host either.
_DOWNLOADS = 8 * CONNECTIONS_PER_HOST


class AsyncCompleteLook:
    """CompleteLook for an event loop: share one in a loop.

    Pictures are fetched and decoded in threads, those of a slow host in others than the rest. A
    cancelled task cancels its request. The methods and the errors are those of CompleteLook.
    """

    def __init__(
        self,
        server: str = "localhost:8001",
        *,
        timeout_s: float = 30.0,
        retries: bool = True,
        credentials: Credentials = PLAIN,
        pictures: PicturePolicy = ANY_PICTURE,
    ) -> None:
        """See CompleteLook."""
        self.server = server
        self._connection = AsyncConnection(
            server, timeout_s=timeout_s, retries=retries, credentials=credentials
        )
        self._places = asyncio.Semaphore(_IN_FLIGHT)
        self._downloads = ThreadPoolExecutor(_DOWNLOADS, "completelook-download")
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._served = ServedModel()
        self._pictures = pictures
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; requests under way are cancelled."""
        self._downloads.shutdown(wait=False, cancel_futures=True)
        await self._connection.close()

    async def categories(self) -> tuple[str, ...]:
        """See CompleteLook.categories."""
        return (await self._configuration()).categories

    async def calibration(self) -> Calibration | None:
        """See CompleteLook.calibration."""
        return (await self._configuration()).calibration

    async def embed_scene(self, source: ImageSource, *, regions: bool = False) -> SceneEmbedding:
        """See CompleteLook.embed_scene."""
        image, outputs = await self._infer(EXPLAIN_SCENE if regions else EMBED_SCENE, source)
        scene = SceneEmbedding.from_outputs(outputs, picture=tensor_digest(image))
        self._served.note(scene.model_id)
        return scene

    async def embed_product(self, source: ImageSource) -> ProductEmbedding:
        """See CompleteLook.embed_product."""
        _, outputs = await self._infer(EMBED_PRODUCT, source)
        product = ProductEmbedding.from_outputs(outputs)
        self._served.note(product.model_id)
        return product

    async def embed_products(
        self, sources: Iterable[ImageSource], *, in_flight: int = 16
    ) -> NDArray[np.float32]:
        """See CompleteLook.embed_products."""
        answers = map_tasks_in_flight(self.embed_product, sources, in_flight=in_flight)
        return stacked([product async for product in answers], self.server)  # [N, 128]

    async def rank(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        category: str,
        **options: Unpack[RankOptions],
    ) -> Ranking:
        """See CompleteLook.rank."""
        ranked = await self.rank_scene(scene, catalog, (category,), **options)
        return next(iter(ranked.values()))

    async def rank_scene(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        categories: Sequence[str] = (),
        **options: Unpack[RankOptions],
    ) -> Mapping[str, Ranking]:
        """See CompleteLook.rank_scene."""
        require_options(catalog, **options)
        names = categories_to_rank(catalog, categories)
        if not isinstance(scene, SceneEmbedding):
            is_steered = bool(options.get("steering", NO_STEERING))
            scene = await self.embed_scene(scene, regions=is_steered)
        (ranked,) = await self._ranked([("", scene)], catalog, names, **options)
        return ranked.matches

    async def _ranked(
        self,
        photos: Sequence[tuple[str, SceneEmbedding]],
        catalog: Catalog,
        names: Sequence[str],
        **options: Unpack[RankOptions],
    ) -> list[RankedScene]:
        for _, scene in photos:
            catalog.require_model(scene.model_id, self.server)
        calibration = await self.calibration()
        return await asyncio.to_thread(  # A large catalog would hold the event loop up.
            rank_photos, photos, catalog, names, calibration=calibration, **options
        )

    async def rank_scenes(
        self,
        scenes: Iterable[str],
        catalog: Catalog,
        categories: Sequence[str] = (),
        *,
        regions: bool = False,
        skipped: Callable[[str, ImageError], None] | None = None,
        **options: Unpack[RankOptions],
    ) -> AsyncIterator[RankedScene]:
        """See CompleteLook.rank_scenes."""
        require_options(catalog, **options)
        names = categories_to_rank(catalog, categories)
        regions = regions or bool(options.get("steering", NO_STEERING))

        async def embed(source: str) -> tuple[str, SceneEmbedding | ImageError]:
            try:
                return source, await self.embed_scene(source, regions=regions)
            except ImageError as error:
                if skipped is None:
                    raise
                return source, error

        async def ranked() -> list[RankedScene]:
            if not waiting:
                return []
            found = await self._ranked(waiting, catalog, names, **options)
            waiting.clear()
            return found

        waiting: list[tuple[str, SceneEmbedding]] = []
        embeddings = map_tasks_in_flight(embed, scenes, in_flight=SCENES_IN_FLIGHT)
        async with aclosing(embeddings):
            try:
                async for source, scene in embeddings:
                    if not isinstance(scene, ImageError):
                        waiting.append((source, scene))
                    elif skipped is not None:
                        skipped(source, scene)
                    if len(waiting) == SCENES_IN_FLIGHT:
                        for each in await ranked():
                            yield each
            except ImageError:
                for each in await ranked():
                    yield each
                raise
            for each in await ranked():
                yield each

    async def complete(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        categories: Sequence[str] = (),
        **options: Unpack[LookOptions],
    ) -> Looks:
        """See CompleteLook.complete."""
        require_look_options(catalog, **options)
        names = categories_to_rank(catalog, categories)
        source = str(scene) if isinstance(scene, str | Path) else ""
        if not isinstance(scene, SceneEmbedding):
            is_steered = bool(options.get("steering", NO_STEERING))
            scene = await self.embed_scene(scene, regions=is_steered)
        catalog.require_model(scene.model_id, self.server)
        calibration = await self.calibration()
        return await asyncio.to_thread(
            complete_photo, source, scene, catalog, names, calibration=calibration, **options
        )

    async def _infer(
        self, model: Model, source: ImageSource
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
        """The picture's tensor and what a model answers."""
        if isinstance(source, str) and is_url(source):
            source = await self._fetch(source)
        async with self._places:
            if not is_tensor(source):
                source = await asyncio.to_thread(load_image, source, self._pictures)
            return source, await self._connection.infer(model, source)

    async def _fetch(self, url: str) -> bytes:
        host = self._hosts.setdefault(host_of(url), asyncio.Semaphore(CONNECTIONS_PER_HOST))
        async with host:
            return await asyncio.get_running_loop().run_in_executor(
                self._downloads, download, url, self._pictures
            )

    async def _configuration(self) -> Configuration:
        reading, is_ours = self._served.claim()
        if is_ours:
            # In a task of its own: who asked first may be cancelled, and others wait for it.
            self._reader = asyncio.create_task(self._read_configuration(reading))
        return await asyncio.shield(asyncio.wrap_future(reading))

    async def _read_configuration(self, reading: "Future[Configuration]") -> None:
        with self._served.filling(reading):
            parameters = await self._connection.model_parameters(EMBED_SCENE.name)
            reading.set_result(Configuration(self.server, parameters))
