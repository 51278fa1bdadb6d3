"""The complete look: against every look there is, from prices as shops write them."""

import sys
import tempfile
from itertools import combinations, product
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow as pa
import pytest
from completelook import Catalog, CatalogError, SceneEmbedding, UsageError
from completelook.catalog import write_catalog
from completelook.ranking import complete, rank
from completelook.ranking.look import COHERENCE
from hypothesis import given, settings
from hypothesis import strategies as st

CATEGORIES = ("Home|Rugs", "Home|Lamps", "Sofas")
SIZES = (4, 3, 4)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def scene_of(seed: int) -> SceneEmbedding:
    generator = np.random.default_rng(seed)
    return SceneEmbedding(
        embedding=unit(generator.normal(size=128)).astype(np.float32),
        contexts=(0.8 * unit(generator.normal(size=(3, 128)))).astype(np.float32),
        model_id=1,
    )


def letter(category: str) -> str:
    """What the ids of a category begin with."""
    return category.rpartition("|")[2][0]


def shop(folder, seed: int = 0, *, write=lambda price: f"{price}.00 EUR", prices=None) -> Catalog:
    """Four rugs, three lamps, four sofas; the first of each has no price that can be read."""
    generator = np.random.default_rng(seed)
    rows = [
        (f"{letter(name)}{row}", name, row)
        for name, size in zip(CATEGORIES, SIZES, strict=True)
        for row in range(size)
    ]
    drawn = generator.integers(10, 100, len(rows)) if prices is None else prices
    table = pa.table(
        {
            "id": [id_ for id_, _, _ in rows],
            "category": [name for _, name, _ in rows],
            "image": ["x.jpg"] * len(rows),
            "name": [f"The {id_}" for id_, _, _ in rows],
            "price": [
                "on request" if row == 0 else write(price)
                for (_, _, row), price in zip(rows, drawn, strict=True)
            ],
        }
    )
    style = generator.normal(size=128)
    embeddings = unit(style + generator.normal(size=(len(rows), 128))).astype(np.float32)
    path = Path(folder) / "c.arrow"
    write_catalog(path, table, embeddings, model_id=1, categories=CATEGORIES)
    return Catalog.open(path)


def by_enumeration(scene, catalog, names, coherence, budget, keep) -> list[float]:
    """The scores of all looks, from the products themselves."""
    choices = []
    for name in names:
        row = CATEGORIES.index(name)
        ids = [id_ for id_ in catalog._content.table()["id"].to_pylist() if id_[0] == letter(name)]
        hits = catalog.get(ids)
        choice = []
        for found, embedding in zip(hits.products, hits.embeddings, strict=True):
            price = found.columns["price"].partition(".")[0]
            if keep(found) and (budget is None or price.isdigit()):
                f = embedding.astype(float)
                distance = 2 - f @ (scene.embedding.astype(float) + scene.contexts[row])
                choice.append((distance, f, int(price) if price.isdigit() else None))
        choices.append(choice)
    scores = []
    for chosen in product(*choices):
        if budget is not None and sum(price for _, _, price in chosen) > budget:
            continue
        pairs = [
            sum((a - b) ** 2 for a, b in zip(x[1], y[1], strict=True))
            for x, y in combinations(chosen, 2)
        ]
        scene_distance = fmean(distance for distance, _, _ in chosen)
        mutual = fmean(pairs) if pairs else 0.0
        part = coherence if pairs else 0.0
        scores.append((1 - part) * scene_distance + part * mutual)
    return sorted(scores)


@given(
    seed=st.integers(0, 10**6),
    names=st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=3, unique=True),
    budget=st.none() | st.integers(60, 300),
    coherence=st.sampled_from([0.0, COHERENCE, 0.7]),
    without=st.sampled_from([None, "R1", "L2"]),
)
@settings(max_examples=40)
def test_looks_are_the_best_there_are(seed, names, budget, coherence, without) -> None:
    scene = scene_of(seed)
    with tempfile.TemporaryDirectory() as folder:
        catalog = shop(folder, seed)
        where = [] if without is None else [f"id!={without}"]
        arguments = (scene, catalog, names, coherence)
        expected = by_enumeration(*arguments, budget, lambda found: found.id != without)
        if not expected:
            with pytest.raises(CatalogError, match="the cheapest look"):
                complete(scene, catalog, names, budget=budget, where=where)
            return
        looks = complete(scene, catalog, names, budget=budget, coherence=coherence, where=where)
        dearer = by_enumeration(*arguments, (budget or 0) + 20, lambda found: found.id != without)
    assert [look.score for look in looks.looks] == pytest.approx(expected[:3], abs=1e-5)
    if budget is None:
        assert looks.with_more is None
    else:
        assert looks.with_more.score == pytest.approx(dearer[0], abs=1e-5)
        buys = looks.with_more if dearer[0] < expected[0] - 2e-5 else None
        assert looks.worth_more is buys
    for look in looks.looks:
        assert [match.category for match in look.matches] == names
        assert look.gap < 1e-4
        part = coherence if len(names) > 1 else 0
        parts = (1 - part) * look.scene_distance + part * look.mutual_distance
        assert look.score == pytest.approx(parts, abs=1e-6)
        assert budget is None or look.price <= budget


def test_each_product_has_its_rank_in_its_category_for_the_scene_alone(tmp_path) -> None:
    scene, catalog = scene_of(3), shop(tmp_path, 3)
    for match in complete(scene, catalog, coherence=0.9).looks[0].matches:
        alone = rank(scene, catalog, match.category)
        assert [each.rank for each in alone if each.id == match.id] == [match.rank]


def test_what_must_be_in_it_is_and_brings_its_category(tmp_path) -> None:
    looks = complete(
        scene_of(0), shop(tmp_path), ["Rugs"], must=["L2"], where=["id!=L2"], budget=250
    )
    for look in looks.looks:
        assert [match.category for match in look.matches] == ["Home|Rugs", "Home|Lamps"]
        assert look.matches[1].id == "L2"


def test_a_category_of_which_nothing_meets_the_conditions_is_left_out(tmp_path) -> None:
    looks = complete(scene_of(0), shop(tmp_path), where=["category!=Home|Lamps"])
    assert looks.left_out == ("Home|Lamps",)
    assert len(looks.looks[0].matches) == 2


def test_prices_in_one_currency_are_added_up(tmp_path) -> None:
    catalog = shop(tmp_path, write=lambda price: f"1.{price:03d},50 €")
    looks = complete(scene_of(0), catalog, budget=10_000)
    assert looks.currency == "EUR"
    prices = [match.product["price"] for match in looks.looks[0].matches]
    assert looks.looks[0].price == sum(1000.5 + int(text[2:5]) for text in prices)


def test_without_a_budget_the_price_is_known_only_where_each_has_one(tmp_path) -> None:
    catalog = shop(tmp_path)
    fixed = complete(scene_of(0), catalog, must=["R0", "L1", "S1"]).looks[0]
    assert fixed.price is None
    priced = complete(scene_of(0), catalog, must=["R1", "L1", "S1"]).looks[0]
    assert priced.price > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": -1.0}, UsageError, "budget is -1"),
        ({"budget": float("nan")}, UsageError, "budget is nan"),
        ({"coherence": 1.5}, UsageError, "from 0 to 1"),
        ({"must": ["R1", "R2"]}, UsageError, "'R1' and 'R2' are both of 'Home.Rugs'"),
        ({"must": ["nothing"]}, CatalogError, "no product 'nothing'"),
        (
            {"must": ["R0"], "budget": 900.0},
            CatalogError,
            "nothing of Home.Rugs meets the conditions and has a price in 'price'",
        ),
        ({"budget": 25.0}, CatalogError, "budget 25: the cheapest look of 3 products costs"),
        ({"price_column": "cost"}, CatalogError, "no column 'cost': it has 'name', 'price'"),
        ({"where": ["id=R9"]}, CatalogError, "nothing of Home.Rugs, Home.Lamps, Sofas meets"),
    ],
)
def test_a_look_that_cannot_be_says_why(tmp_path, options, error, message) -> None:
    with pytest.raises(error, match=message):
        complete(scene_of(0), shop(tmp_path), **options)


def test_prices_in_several_currencies_are_not_added_up(tmp_path) -> None:
    catalog = shop(
        tmp_path,
        write=lambda price: f"{price}.00 {'EUR' if price < 50 else 'USD'}",
        prices=[10, 10, 10, 10, 60, 60, 60, 10, 10, 10, 10],
    )
    with pytest.raises(CatalogError, match="prices in EUR and USD cannot be added up"):
        complete(scene_of(0), catalog, budget=500)
    looks = complete(scene_of(0), catalog, must=["R1", "L1", "S1"])
    assert (looks.currency, looks.looks[0].price) == (None, None)


def test_an_extra_that_is_missing_is_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(UsageError, match=r"pip install 'completelook\[look\]'"):
        complete(scene_of(0), shop(tmp_path))
