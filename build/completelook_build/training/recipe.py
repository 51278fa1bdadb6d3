"""The two ways of training: the paper's, and one for a shop with hundreds of photos."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from completelook_build.backbones import Pooling
from completelook_build.features import Views

Mining = Literal["random", "semi-hard"]
MININGS: tuple[Mining, ...] = get_args(Mining)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The paper's recipe: the hinge on triplets, and the epoch that does best on other scenes.

    The defaults are what was found to work (docs/model.md). `batch_size` is that of all processes
    together. `mining` says which of a pair's `negatives` count: all of them ("random", the
    paper's), or those that `semi_hard` picks.
    """

    epochs: int = 30
    batch_size: int = 64
    negatives: int = 8
    margin: float = 0.2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    mining: Mining = "random"
    seed: int = 0

    views: ClassVar = Views()
    pooling: ClassVar[Pooling] = "head"
    projected_size: ClassVar[None] = None
    global_skip: ClassVar = False


@dataclass(frozen=True, kw_only=True)
class SmallDataConfig:
    """The recipe for few scenes: more views and statistics of each, a softmax over all products.

    What each part earned is in docs/training.md. The backbone's pooled vector has mean and
    deviation of its earlier maps beside it, `projected_size` of its principal components and a
    `global_skip` lead into g_global. Each step takes `scenes_per_batch` scenes with all of their
    pairs, and at most `products_per_step` training products. The rate rises over the first
    `warm_up` of all steps and falls to 0 as a cosine; the last epoch's weights are kept.
    """

    epochs: int = 25
    scenes_per_batch: int = 32
    products_per_step: int = 1400
    temperature: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.05
    projected_size: int = 256
    global_skip: bool = True
    scene_views: int = 8
    product_views: int = 2
    seed: int = 0

    pooling: ClassVar[Pooling] = "stages"

    @property
    def views(self) -> Views:
        """The views of each picture that training draws from."""
        return Views(scenes=self.scene_views, products=self.product_views)


Recipe = TrainingConfig | SmallDataConfig
RECIPES: Mapping[str, type[TrainingConfig] | type[SmallDataConfig]] = {
    "paper": TrainingConfig,
    "small-data": SmallDataConfig,
}


def recipe_name(config: Recipe) -> str:
    """What `--recipe` calls it."""
    return next(name for name, made in RECIPES.items() if isinstance(config, made))
