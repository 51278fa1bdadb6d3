"""The rows of the comparison: what each is taken to be, and how it comes to rank products."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from completelook_build.evaluation.baselines import (
    baseline_distances,
    chance_distances,
    fit_baseline,
    popularity_distances,
    raw_distances,
)
from completelook_build.evaluation.material import Material
from completelook_build.heads import Distances, Form, HeadsConfig, heads_distances
from completelook_build.training import Recipe, SmallDataConfig, TrainingConfig, train_heads

_ATTENTION_SCALE = 5.0


@dataclass(frozen=True)
class Ranked:
    """A contender ready for the test scenes, and what training chose."""

    distances: Distances
    choice: str = ""


@dataclass(frozen=True)
class Contender:
    """One row: its name in files, its title and what it is taken to be, as Markdown."""

    name: str
    title: str
    note: str
    learn: Callable[[Material, TrainingConfig], Ranked]
    is_seeded: bool = True


def _chance(material: Material, config: TrainingConfig) -> Ranked:
    return Ranked(chance_distances(material.test, config.seed))


def _popularity(material: Material, _: TrainingConfig) -> Ranked:
    return Ranked(popularity_distances(material.train))


def _raw(material: Material, _: TrainingConfig) -> Ranked:
    return Ranked(raw_distances(material.test))


def _baseline(name: str, material: Material, config: TrainingConfig) -> Ranked:
    fitted = fit_baseline(name, material.train, material.validation, config)
    return Ranked(baseline_distances(fitted.model, material.test), fitted.choice)


def _heads(
    material: Material,
    config: TrainingConfig,
    *,
    form: Form = "full",
    attention_scale: float | None = None,
    crop: bool = True,
) -> Ranked:
    channels, pooled_size = material.train.sizes
    heads_config = HeadsConfig(
        categories=material.data.categories,
        channels=channels,
        pooled_size=pooled_size,
        form=form,
        attention_scale=attention_scale,
    )
    train, validation = (material.train, material.validation) if crop else material.read_uncropped()
    trained = train_heads(train, validation, heads_config, config)
    return Ranked(heads_distances(trained.heads, material.test), f"best epoch {trained.kept.epoch}")


def learn_by_recipe(material: Material, recipe: Recipe) -> Ranked:
    """What `train` with a recipe makes of a material's scenes."""
    if isinstance(recipe, SmallDataConfig):
        return _small_data(material, recipe)
    return _heads(material, recipe)


def _small_data(material: Material, config: Recipe, *, form: Form = "full") -> Ranked:
    train, validation, test = material.read_for_small_data()
    channels, pooled_size = train.sizes
    recipe = config if isinstance(config, SmallDataConfig) else SmallDataConfig(seed=config.seed)
    heads_config = HeadsConfig(
        categories=material.data.categories,
        channels=channels,
        pooled_size=pooled_size,
        form=form,
        projected_size=recipe.projected_size,
        global_skip=recipe.global_skip,
    )
    trained = train_heads(train, validation, heads_config, recipe)
    return Ranked(heads_distances(trained.heads, test))


CONTENDERS = (
    Contender("chance", "Chance", "random numbers for every pair and product.", _chance),
    Contender(
        "popularity",
        "Popularity",
        "the number of training pairs of a product. A product in none ties with all such.",
        _popularity,
        is_seeded=False,
    ),
    Contender(
        "raw",
        "Raw features",
        "cosine similarity of the backbone's pooled features of cropped scene and product; "
        "nothing is learned. It finds what looks alike.",
        _raw,
        is_seeded=False,
    ),
    Contender(
        "ibr",
        "IBR",
        "McAuley, Targett, Shi, van den Hengel, *Image-based Recommendations on Styles and "
        "Substitutes* (SIGIR 2015): a linear transform of low rank of pooled features, "
        "`P(fits) = sigmoid(c - ||(x_s - x_p) Y||^2)`, maximum likelihood. One transform for all "
        "categories. Tried: rank 10 and 100.",
        partial(_baseline, "ibr"),
    ),
    Contender(
        "siamese",
        "Siamese nets",
        "Veit, Kovacs, Bell, McAuley, Bala, Belongie, *Learning Visual Clothing Style with "
        "Heterogeneous Dyadic Co-occurrences* (ICCV 2015): one embedding of scenes and products "
        "under the contrastive loss. Here on frozen pooled features, with the layers of CTL's "
        "global embedding; no attention. Tried: margin 0.5 and 1.",
        partial(_baseline, "siamese"),
    ),
    Contender(
        "bpr_dae",
        "BPR-DAE",
        "Song, Feng, Liu, Li, Nie, Ma, *NeuroStylist: Neural Compatibility Modeling for Clothing "
        "Matching* (ACM Multimedia 2017): an autoencoder for each side, compatibility as the inner "
        "product of the codes, Bayesian personalised ranking plus reconstruction. Here on visual "
        "features alone (scenes have no text), one hidden layer of 512. Tried: reconstruction "
        "weighted 0.01 and 0.1.",
        partial(_baseline, "bpr_dae"),
    ),
    Contender("ctl", "CTL", "Complete the Look in the paper's form.", _heads),
    Contender(
        "ctl_scaled",
        "CTL, attention scale learned",
        f"the same with a learnable scale on the attention's logits, from {_ATTENTION_SCALE:g}.",
        partial(_heads, attention_scale=_ATTENTION_SCALE),
    ),
    Contender(
        "global_only",
        "CTL, global only",
        "`d = d_global`: no regions, no attention.",
        partial(_heads, form="global_only"),
    ),
    Contender(
        "local_only",
        "CTL, local only",
        "`d = d_local`: the attended regions alone.",
        partial(_heads, form="local_only"),
    ),
    Contender(
        "uniform_attention",
        "CTL, uniform attention",
        "every region weighs 1/196.",
        partial(_heads, form="uniform_attention"),
    ),
    Contender(
        "no_category",
        "CTL, no category",
        "one embedding that all categories share guides the attention.",
        partial(_heads, form="no_category"),
    ),
    Contender(
        "no_crop",
        "CTL, no crop in training",
        "trained, and its epoch chosen, on whole scenes in which the product can be seen; tested "
        "on cropped scenes like the rest.",
        partial(_heads, crop=False),
    ),
    Contender(
        "small_data",
        "CTL, small-data recipe",
        "`train --recipe small-data` (docs/training.md): views of each picture, statistics of "
        "earlier maps beside the pooled vector, a softmax over all training products; a fixed "
        "number of epochs, the last kept.",
        _small_data,
    ),
    Contender(
        "small_data_global",
        "CTL, small-data recipe, global only",
        "the same with `d = d_global`.",
        partial(_small_data, form="global_only"),
    ),
)
