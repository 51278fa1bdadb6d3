"""The client: scenes and products in, embeddings and ranked products out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import numpy as np
from numpy.typing import NDArray

from completelook.catalog import Catalog
from completelook.clients.served_model import Configuration, ServedModel
from completelook.concurrency import map_in_flight
from completelook.contract import EMBED_PRODUCT, EMBED_SCENE, EXPLAIN_SCENE
from completelook.errors import ContractError, ImageError
from completelook.images import (
    ANY_PICTURE,
    ImageSource,
    PicturePolicy,
    is_tensor,
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
from completelook.triton import PLAIN, Connection, Credentials, ProductEmbedding, SceneEmbedding

SCENES_IN_FLIGHT = 8


class CompleteLook:
    """A connection to a Triton server that runs the Complete the Look models.

    Thread-safe: share one in a process. Nothing is sent before the first question. Every method
    raises ServerUnavailable, ServerOverloaded, ServerTimeout, ContractError or ServerError when the
    server fails, and ImageError when a picture cannot be read.
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
        """`timeout_s` bounds each request, its retries under overload included.

        Without `retries` the first refusal is raised: for who measures, or tries again by itself.
        `credentials` reach a locked server: TLS, a certificate, headers such as a token.
        `pictures` says which ones are read: for a service whose users name them.

        Raises UsageError for what is no HOST:PORT.
        """
        self.server = server
        self._connection = Connection(
            server, timeout_s=timeout_s, retries=retries, credentials=credentials
        )
        self._served = ServedModel()
        self._pictures = pictures

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

    def categories(self) -> tuple[str, ...]:
        """The model's category names, in the order of the rows of `SceneEmbedding.contexts`."""
        return self._configuration().categories

    def calibration(self) -> Calibration | None:
        """The model's map from distance to compatibility, None where it is not calibrated.

        One that is calibrated anew without another model is noticed within half a minute.
        """
        return self._configuration().calibration

    def embed_scene(self, source: ImageSource, *, regions: bool = False) -> SceneEmbedding:
        """A scene's embedding [128] and its contexts [C, 128], one per category of the model.

        With `regions`, also the attention [C, 14, 14] and the region embeddings [196, 128].
        """
        model = EXPLAIN_SCENE if regions else EMBED_SCENE
        image = self._load(source)
        outputs = self._connection.infer(model, image)
        scene = SceneEmbedding.from_outputs(outputs, picture=tensor_digest(image))
        self._served.note(scene.model_id)
        return scene

    def embed_product(self, source: ImageSource) -> ProductEmbedding:
        """A product's embedding [128]."""
        outputs = self._connection.infer(EMBED_PRODUCT, self._load(source))
        product = ProductEmbedding.from_outputs(outputs)
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
        category: str,
        **options: Unpack[RankOptions],
    ) -> Ranking:
        """The `top` products of one category that complement a scene best.

        With `min_compatibility`, in 0..1, only products at or above it, which may be none.

        Raises CategoryError, ModelMismatch, NotCalibrated, UsageError.
        """
        ranked = self.rank_scene(scene, catalog, (category,), **options)
        return next(iter(ranked.values()))

    def rank_scene(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        categories: Sequence[str] = (),
        **options: Unpack[RankOptions],
    ) -> Mapping[str, Ranking]:
        """What `rank` finds in each of some categories, by their full names.

        Without categories: in each that the model knows and the catalog holds.

        Raises what `rank` raises, CategoryError and UsageError before anything is sent.
        """
        require_options(catalog, **options)
        names = categories_to_rank(catalog, categories)
        if not isinstance(scene, SceneEmbedding):
            is_steered = bool(options.get("steering", NO_STEERING))
            scene = self.embed_scene(scene, regions=is_steered)
        (ranked,) = self._ranked([("", scene)], catalog, names, **options)
        return ranked.matches

    def _ranked(
        self,
        photos: Sequence[tuple[str, SceneEmbedding]],
        catalog: Catalog,
        names: Sequence[str],
        **options: Unpack[RankOptions],
    ) -> list[RankedScene]:
        for _, scene in photos:
            catalog.require_model(scene.model_id, self.server)
        return rank_photos(photos, catalog, names, calibration=self.calibration(), **options)

    def rank_scenes(
        self,
        scenes: Iterable[str],
        catalog: Catalog,
        categories: Sequence[str] = (),
        *,
        regions: bool = False,
        skipped: Callable[[str, ImageError], None] | None = None,
        **options: Unpack[RankOptions],
    ) -> Iterator[RankedScene]:
        """Rank many scenes, paths or URLs, a few in flight; see `rank_scene` and `embed_scene`.

        A scene whose picture cannot be read is told to `skipped`, or else ends it with ImageError.
        """
        require_options(catalog, **options)
        names = categories_to_rank(catalog, categories)
        regions = regions or bool(options.get("steering", NO_STEERING))

        def embed(source: str) -> tuple[str, SceneEmbedding | ImageError]:
            try:
                return source, self.embed_scene(source, regions=regions)
            except ImageError as error:
                if skipped is None:
                    raise
                return source, error

        def ranked() -> Iterator[RankedScene]:
            if waiting:
                yield from self._ranked(waiting, catalog, names, **options)
                waiting.clear()

        # As many as are embedded at once are ranked at once, in one pass over the catalog.
        waiting: list[tuple[str, SceneEmbedding]] = []
        try:
            for source, scene in map_in_flight(embed, scenes, in_flight=SCENES_IN_FLIGHT):
                if not isinstance(scene, ImageError):
                    waiting.append((source, scene))
                elif skipped is not None:
                    skipped(source, scene)
                if len(waiting) == SCENES_IN_FLIGHT:
                    yield from ranked()
        except ImageError:
            yield from ranked()
            raise
        yield from ranked()

    def complete(
        self,
        scene: ImageSource | SceneEmbedding,
        catalog: Catalog,
        categories: Sequence[str] = (),
        **options: Unpack[LookOptions],
    ) -> Looks:
        """The best looks for a scene: a product of each of some categories, that go together.

        The best one, the two that come next, and with a budget what more would buy; see
        `ranking.LookOptions` for what may be told.

        Raises what `rank` raises, and CatalogError where no look is possible.
        """
        require_look_options(catalog, **options)
        names = categories_to_rank(catalog, categories)
        source = str(scene) if isinstance(scene, str | Path) else ""
        if not isinstance(scene, SceneEmbedding):
            is_steered = bool(options.get("steering", NO_STEERING))
            scene = self.embed_scene(scene, regions=is_steered)
        catalog.require_model(scene.model_id, self.server)
        calibration = self.calibration()
        return complete_photo(source, scene, catalog, names, calibration=calibration, **options)

    def _load(self, source: ImageSource) -> NDArray[np.uint8]:
        return source if is_tensor(source) else load_image(source, self._pictures)

    def _configuration(self) -> Configuration:
        reading, is_ours = self._served.claim()
        if is_ours:
            with self._served.filling(reading):
                parameters = self._connection.model_parameters(EMBED_SCENE.name)
                reading.set_result(Configuration(self.server, parameters))
        return reading.result()


def stacked(products: Sequence[ProductEmbedding], server: str) -> NDArray[np.float32]:
    """The embeddings [N, 128] of products of one model. Raises ContractError for those of two."""
    if len({product.model_id for product in products}) > 1:
        raise ContractError(
            f"the model at {server} changed between two products, so their embeddings "
            "cannot be compared: embed them again"
        )
    if not products:
        return np.empty((0, EMBED_PRODUCT.outputs[0].shape[0]), np.float32)
    return np.stack([product.embedding for product in products])  # [N, 128]
