"""The ablations: what is left of the distance without one part, and that none of them is served."""

import dataclasses

import pytest
import torch
from completelook_build.errors import ExportError
from completelook_build.export import export_model
from completelook_build.features.split import make_split
from completelook_build.heads import CompatibilityHeads, HeadsConfig, heads_distances
from planted import CATEGORIES, plant_pairs

FORMS = ("full", "global_only", "local_only", "uniform_attention", "no_category")


def make_heads(form):
    torch.manual_seed(0)
    return CompatibilityHeads(HeadsConfig(categories=CATEGORIES, form=form)).eval()


@pytest.fixture
def features():
    random = torch.Generator().manual_seed(1)
    return torch.rand(2048, generator=random), torch.rand(196, 1024, generator=random)


@pytest.fixture
def product():
    return torch.rand(2048, generator=torch.Generator().manual_seed(2))


def measured(heads, features, category, product):
    pooled, regions = features
    return float(heads(pooled[None], regions[None], torch.tensor([category]), product[None, None]))


def squared(one, other):
    return sum((a - b) ** 2 for a, b in zip(one.tolist(), other.tolist(), strict=True))


def slow_parts(heads, features, category, product):
    """d_global, and ||f_i - f_p||^2 and the attention of each region."""
    pooled, regions = features
    item = heads.embed_pooled(product[None])[0]
    attention, local = heads.embed_regions(regions[None])
    d_global = squared(heads.embed_pooled(pooled[None])[0], item)
    return d_global, [squared(f, item) for f in local[0]], attention[0, category].tolist()


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_the_distance_is_what_its_form_says(form, features, product):
    heads = make_heads(form)
    d_global, d_regions, attention = slow_parts(heads, features, 1, product)
    d_local = sum(a * d for a, d in zip(attention, d_regions, strict=True))
    expected = {
        "global_only": d_global,
        "local_only": d_local,
        "uniform_attention": (d_global + sum(d_regions) / 196) / 2,
    }.get(form, (d_global + d_local) / 2)
    assert measured(heads, features, 1, product) == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("form", "is_same"), [("no_category", True), ("full", False)])
def test_without_a_category_all_look_at_the_same_regions(form, is_same, features):
    attention, _ = make_heads(form).embed_regions(features[1][None])
    assert attention.shape == (1, len(CATEGORIES), 196)
    assert torch.equal(attention[0, 0], attention[0, 1]) is is_same


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_every_region_weighs_the_same_in_the_uniform_form_alone(form, features):
    attention, _ = make_heads(form).embed_regions(features[1][None])
    ratio = attention.amax(dim=2) / attention.amin(dim=2)  # [1, C]
    if form == "uniform_attention":
        assert torch.equal(ratio, torch.ones_like(ratio))
    else:
        assert ratio.min() > 1.1


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_scores_are_the_distances_of_the_form(form, tmp_path):
    test = make_split(plant_pairs(tmp_path), "test", CATEGORIES)
    heads = make_heads(form)
    rows = test.negatives(2)
    scored = heads_distances(heads, test)(2, rows)
    scenes, products = test.features.scenes, test.features.products
    features = scenes.pooled(test.scene_rows[[2]])[0], scenes.regions(test.scene_rows[[2]])[0]
    expected = [
        measured(heads, features, int(test.categories[2]), pooled)
        for pooled in products.pooled(rows)
    ]
    assert scored == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("form", FORMS[1:])
def test_an_ablation_is_not_exported(form, untrained, tmp_path):
    config = dataclasses.replace(untrained.config, form=form)
    model = dataclasses.replace(untrained, config=config)
    with pytest.raises(ExportError, match=form):
        export_model(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="'half': expected one of full, global_only"):
        HeadsConfig(categories=CATEGORIES, form="half")  # type: ignore[arg-type]
