"""The client for services that wait in an event loop; it shares all but the waiting."""

import asyncio
from collections.abc import Iterable
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient

from completelook.catalog.arrow import Catalog
from completelook.clients.answers import (
    ServedModel,
    parse_calibration,
    parse_categories,
    product_embedding,
    rank_categories,
    scene_embedding,
    scene_model,
    stacked,
)
from completelook.concurrency import gather_in_flight
from completelook.contract import (
    CALIBRATION_PARAMETER,
    CATEGORIES_PARAMETER,
    EMBED_PRODUCT,
    EMBED_SCENE,
    Model,
)
from completelook.images.decode import ImageSource, load_image
from completelook.ranking.calibration import Calibration
from completelook.ranking.ranking import Match, categories_to_rank
from completelook.triton.connection import CHANNEL_OPTIONS, Wire, infer_inputs, parameter_text
from completelook.triton.embeddings import ProductEmbedding, SceneEmbedding

# As many as a server works on and lets wait; the others wait here, undecoded.
_IN_FLIGHT = 64


class AsyncCompleteLook:
    """CompleteLook for an event loop: share one in a loop.

    Pictures are fetched and decoded in threads. A cancelled task cancels its request. The errors
    are those of CompleteLook.
    """

    def __init__(self, server: str = "localhost:8001", *, timeout_s: float = 30.0) -> None:
        """`timeout_s` bounds each request, its retries under overload included."""
        self.server = server
        self._connection = _AsyncConnection(server, timeout_s=timeout_s)
        self._lock = asyncio.Lock()
        self._places = asyncio.Semaphore(_IN_FLIGHT)
        self._served = ServedModel()

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
        await self._connection.close()

    async def categories(self) -> tuple[str, ...]:
        """The model's category names, in the order of the rows of `SceneEmbedding.contexts`."""
        async with self._lock:
            if self._served.categories is None:
                text = await self._connection.model_parameter(
                    EMBED_SCENE.name, CATEGORIES_PARAMETER
                )
                self._served.categories = parse_categories(text, self.server)
            return self._served.categories

    async def calibration(self) -> Calibration | None:
        """The model's map from distance to compatibility, None where it is not calibrated."""
        async with self._lock:
            if not self._served.calibration_is_read:
                text = await self._connection.model_parameter(
                    EMBED_SCENE.name, CALIBRATION_PARAMETER
                )
                self._served.calibration = parse_calibration(text, self.server)
                self._served.calibration_is_read = True
            return self._served.calibration

    async def embed_scene(self, source: ImageSource, *, regions: bool = False) -> SceneEmbedding:
        """See CompleteLook.embed_scene."""
        scene = scene_embedding(await self._ask(scene_model(regions=regions), source))
        self._served.note_scene(scene)
        return scene

    async def embed_product(self, source: ImageSource) -> ProductEmbedding:
        """A product's embedding [128]."""
        product = product_embedding(await self._ask(EMBED_PRODUCT, source))
        self._served.note(product.model_id)
        return product

    async def embed_products(
        self, sources: Iterable[ImageSource], *, in_flight: int = 16
    ) -> NDArray[np.float32]:
        """The embeddings [N, 128] of N products, asked for `in_flight` at a time."""
        products = await gather_in_flight(self.embed_product, sources, in_flight=in_flight)
        return stacked(products, self.server)  # [N, 128]

    async def rank(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        *,
        category: str | None = None,
        top: int = 10,
        min_compatibility: float | None = None,
    ) -> list[Match]:
        """See CompleteLook.rank."""
        names = categories_to_rank(catalog, () if category is None else (category,))
        if not isinstance(scene, SceneEmbedding):
            scene = await self.embed_scene(scene)
        ranked = await asyncio.to_thread(  # A large catalog would hold the event loop up.
            rank_categories,
            scene,
            catalog,
            names,
            calibration=await self.calibration(),
            server=self.server,
            top=top,
            min_compatibility=min_compatibility,
        )
        return [match for matches in ranked.values() for match in matches]

    async def _ask(self, model: Model, source: ImageSource) -> dict[str, NDArray[Any]]:
        async with self._places:
            image = await asyncio.to_thread(load_image, source)
            return await self._connection.infer(model, image)


class _AsyncConnection(Wire):
    """Connection's part that services need, awaited."""

    @cached_property
    def _client(self) -> InferenceServerClient:
        # Not before the first question: a channel belongs to the loop that runs when it is made.
        return InferenceServerClient(self.server, channel_args=CHANNEL_OPTIONS)

    async def close(self) -> None:
        await self._client.close()

    async def infer(self, model: Model, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        inputs = infer_inputs(model, image)
        with self._failures():
            answer = await self._client.infer(model.name, inputs, client_timeout=self._timeout_s)
        return self._outputs(answer, model)

    async def model_parameter(self, model_name: str, key: str) -> str | None:
        with self._failures():
            answer = await self._client.get_model_config(model_name, client_timeout=self._timeout_s)
        return parameter_text(answer, key)
