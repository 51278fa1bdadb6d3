"""The client: scenes and products in, embeddings and ranked products out."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

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
from completelook.concurrency import map_in_flight
from completelook.contract import (
    CALIBRATION_PARAMETER,
    CATEGORIES_PARAMETER,
    EMBED_PRODUCT,
    EMBED_SCENE,
)
from completelook.images.decode import ImageSource, load_image
from completelook.ranking.calibration import Calibration
from completelook.ranking.ranking import Match, RankedScene, categories_to_rank
from completelook.triton.connection import Connection
from completelook.triton.embeddings import ProductEmbedding, SceneEmbedding

_SCENES_IN_FLIGHT = 8


class CompleteLook:
    """A connection to a Triton server that runs the Complete the Look models.

    Thread-safe: share one in a process. Nothing is sent before the first question. Every method
    raises ServerUnavailable, ServerOverloaded, ContractError or ServerError when the server fails,
    and ImageError when a picture cannot be read.
    """

    def __init__(self, server: str = "localhost:8001", *, timeout_s: float = 30.0) -> None:
        """`timeout_s` bounds each request, its retries under overload included."""
        self.server = server
        self._connection = Connection(server, timeout_s=timeout_s)
        self._lock = Lock()
        self._served = ServedModel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; requests under way are cancelled."""
        self._connection.close()

    @property
    def categories(self) -> tuple[str, ...]:
        """The model's category names, in the order of the rows of `SceneEmbedding.contexts`."""
        with self._lock:
            if self._served.categories is None:
                self._served.categories = read_categories(self._connection)
            return self._served.categories

    @property
    def calibration(self) -> Calibration | None:
        """The model's map from distance to compatibility, None where it is not calibrated."""
        with self._lock:
            if not self._served.calibration_is_read:
                self._served.calibration = read_calibration(self._connection)
                self._served.calibration_is_read = True
            return self._served.calibration

    def embed_scene(self, source: ImageSource, *, regions: bool = False) -> SceneEmbedding:
        """A scene's embedding [128] and its contexts [C, 128], one per category of the model.

        With `regions`, also the attention [C, 14, 14] and the region embeddings [196, 128].
        """
        model = scene_model(regions=regions)
        scene = scene_embedding(self._connection.infer(model, load_image(source)))
        with self._lock:
            self._served.note_scene(scene)
        return scene

    def embed_product(self, source: ImageSource) -> ProductEmbedding:
        """A product's embedding [128]."""
        product = product_embedding(self._connection.infer(EMBED_PRODUCT, load_image(source)))
        with self._lock:
            self._served.note(product.model_id)
        return product

    def embed_products(
        self, sources: Iterable[ImageSource], *, in_flight: int = 16
    ) -> NDArray[np.float32]:
        """The embeddings [N, 128] of N products, asked for `in_flight` at a time."""
        products = list(map_in_flight(self.embed_product, sources, in_flight=in_flight))
        return stacked(products, self.server)  # [N, 128]

    def rank(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        *,
        category: str | None = None,
        top: int = 10,
        min_compatibility: float | None = None,
    ) -> list[Match]:
        """The `top` products of a category that complement a scene best.

        Without a category: of each category the model knows and the catalog holds, one after the
        other. With `min_compatibility`, in 0..1, only products at or above it, which may be none.

        Raises CategoryError, ModelMismatch, NotCalibrated.
        """
        names = categories_to_rank(catalog, () if category is None else (category,))
        if not isinstance(scene, SceneEmbedding):
            scene = self.embed_scene(scene)
        ranked = self._rank_categories(scene, catalog, names, top, min_compatibility)
        return [match for matches in ranked.values() for match in matches]

    def rank_scenes(
        self,
        scenes: Sequence[str],
        catalog: Catalog,
        *,
        categories: Sequence[str] = (),
        top: int = 10,
        min_compatibility: float | None = None,
        regions: bool = False,
    ) -> Iterator[RankedScene]:
        """Rank many scenes, paths or URLs, a few in flight; see `rank` and `embed_scene`.

        Raises CategoryError, before anything is sent, ModelMismatch and NotCalibrated.
        """
        names = categories_to_rank(catalog, categories)
        embed = partial(self.embed_scene, regions=regions)
        embeddings = map_in_flight(embed, scenes, in_flight=_SCENES_IN_FLIGHT)
        for source, scene in zip(scenes, embeddings, strict=True):
            matches = self._rank_categories(scene, catalog, names, top, min_compatibility)
            yield RankedScene(source, scene, matches)

    def _rank_categories(
        self,
        scene: SceneEmbedding,
        catalog: Catalog,
        names: Sequence[str],
        top: int,
        min_compatibility: float | None,
    ) -> dict[str, list[Match]]:
        return rank_categories(
            scene,
            catalog,
            names,
            calibration=self.calibration,
            server=self.server,
            top=top,
            min_compatibility=min_compatibility,
        )


def read_categories(connection: Connection) -> tuple[str, ...]:
    """The ordered category names that the server's scene model carries."""
    text = connection.model_parameter(EMBED_SCENE.name, CATEGORIES_PARAMETER)
    return parse_categories(text, connection.server)


def read_calibration(connection: Connection) -> Calibration | None:
    """The map from distance to compatibility that the server's scene model carries, if any."""
    text = connection.model_parameter(EMBED_SCENE.name, CALIBRATION_PARAMETER)
    return parse_calibration(text, connection.server)
