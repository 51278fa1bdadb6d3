"""The client: scenes and products in, embeddings and ranked products out."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from completelook._catalog import Catalog
from completelook._concurrency import map_in_flight
from completelook._connection import Connection
from completelook._contract import CATEGORIES_PARAMETER, EMBED_PRODUCT, EMBED_SCENE, EXPLAIN_SCENE
from completelook._embeddings import ProductEmbedding, SceneEmbedding
from completelook._errors import ContractError
from completelook._images import ImageSource, load_image
from completelook._ranking import Match, RankedScene, categories_to_rank, rank

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
        self._model_id: int | None = None
        self._categories: tuple[str, ...] | None = None

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
            if self._categories is None:
                self._categories = read_categories(self._connection)
            return self._categories

    def embed_scene(self, source: ImageSource, *, regions: bool = False) -> SceneEmbedding:
        """A scene's embedding [128] and its contexts [C, 128], one per category of the model.

        With `regions`, also the attention [C, 14, 14] and the region embeddings [196, 128].
        """
        model = EXPLAIN_SCENE if regions else EMBED_SCENE
        answer = self._connection.infer(model, load_image(source))
        scene = SceneEmbedding(
            embedding=answer["SCENE_EMBEDDING"],
            contexts=answer["CONTEXT_EMBEDDINGS"],
            model_id=int(answer["MODEL_ID"][0]),
            attention=answer.get("ATTENTION"),
            regions=answer.get("REGION_EMBEDDINGS"),
        )
        self._note_model(scene.model_id, category_count=len(scene.contexts))
        return scene

    def embed_product(self, source: ImageSource) -> ProductEmbedding:
        """A product's embedding [128]."""
        answer = self._connection.infer(EMBED_PRODUCT, load_image(source))
        product = ProductEmbedding(
            embedding=answer["PRODUCT_EMBEDDING"], model_id=int(answer["MODEL_ID"][0])
        )
        self._note_model(product.model_id)
        return product

    def embed_products(
        self, sources: Iterable[ImageSource], *, in_flight: int = 16
    ) -> NDArray[np.float32]:
        """The embeddings [N, 128] of N products, asked for `in_flight` at a time."""
        products = list(map_in_flight(self.embed_product, sources, in_flight=in_flight))
        if len({product.model_id for product in products}) > 1:
            raise ContractError(
                f"the model at {self.server} changed between two products, so their embeddings "
                "cannot be compared: embed them again"
            )
        if not products:
            return np.empty((0, EMBED_PRODUCT.outputs[0].shape[0]), np.float32)
        return np.stack([product.embedding for product in products])  # [N, 128]

    def rank(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        *,
        category: str | None = None,
        top: int = 10,
    ) -> list[Match]:
        """The `top` products of a category that complement a scene best.

        Without a category: of each category the model knows and the catalog holds, one after the
        other.

        Raises CategoryError, ModelMismatch.
        """
        categories = categories_to_rank(catalog, () if category is None else (category,))
        if not isinstance(scene, SceneEmbedding):
            scene = self.embed_scene(scene)
        catalog.require_model(scene.model_id, self.server)
        return [match for name in categories for match in rank(scene, catalog, name, top=top)]

    def rank_scenes(
        self,
        scenes: Sequence[str],
        catalog: Catalog,
        *,
        categories: Sequence[str] = (),
        top: int = 10,
        regions: bool = False,
    ) -> Iterator[RankedScene]:
        """Rank many scenes, paths or URLs, a few in flight; see `rank` and `embed_scene`.

        Raises CategoryError, before anything is sent, and ModelMismatch.
        """
        names = categories_to_rank(catalog, categories)
        embed = partial(self.embed_scene, regions=regions)
        embeddings = map_in_flight(embed, scenes, in_flight=_SCENES_IN_FLIGHT)
        for source, scene in zip(scenes, embeddings, strict=True):
            catalog.require_model(scene.model_id, self.server)
            yield RankedScene(
                source, scene, {name: rank(scene, catalog, name, top=top) for name in names}
            )

    def _note_model(self, model_id: int, *, category_count: int | None = None) -> None:
        """Forget the category names once an answer shows that another model gives it."""
        with self._lock:
            same_model = self._model_id in (None, model_id)
            same_count = self._categories is None or category_count in (None, len(self._categories))
            if not (same_model and same_count):
                self._categories = None
            self._model_id = model_id


def read_categories(connection: Connection) -> tuple[str, ...]:
    """The ordered category names that the server's scene model carries."""
    text = connection.model_parameter(EMBED_SCENE.name, CATEGORIES_PARAMETER)
    try:
        names = json.loads(text or "")
    except ValueError as exc:
        raise _unreadable_categories(connection.server, text) from exc
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _unreadable_categories(connection.server, text)
    return tuple(names)


def _unreadable_categories(server: str, text: str | None) -> ContractError:
    got = "none" if text is None else repr(text[:60])
    return ContractError(
        f"the configuration of {EMBED_SCENE.name} at {server} has {got} for its parameter "
        f"{CATEGORIES_PARAMETER!r}, expected a JSON list of names: export the model again with "
        "`completelook-build export` and restart the server"
    )
