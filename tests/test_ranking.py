from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from completelook import (
    Catalog,
    CategoryError,
    ContractError,
    NotCalibrated,
    SceneEmbedding,
    UsageError,
)
from completelook.catalog import write_catalog
from completelook.ranking import (
    NO_VARIETY,
    Calibration,
    Variety,
    categories_to_rank,
    compatible,
    rank,
    rank_scene,
    rank_scenes,
)
from completelook.storage import ROUNDING, nearest_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stores import DictCatalog

CATEGORIES = ("Sofas", "Rugs", "Lamps")


def unit_vectors(generator: np.random.Generator, count: int) -> NDArray[np.float32]:
    vectors = generator.normal(size=(count, 128))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def random_scene(generator: np.random.Generator) -> SceneEmbedding:
    regions = unit_vectors(generator, 196)
    logits = 4 * generator.normal(size=(len(CATEGORIES), 196))
    attention = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    return SceneEmbedding(
        embedding=unit_vectors(generator, 1)[0],
        contexts=attention @ regions,
        model_id=1,
        attention=attention.reshape(-1, 14, 14),
        regions=regions,
    )


def make_catalog(
    path: Path, products: dict[str, list[str]], embeddings: NDArray[np.float32]
) -> Catalog:
    """A catalog of products given by category, their embeddings [N, 128] in the same order."""
    rows = [(product, category) for category, ids in products.items() for product in ids]
    table = pa.table(
        {
            "id": [product for product, _ in rows],
            "category": [category for _, category in rows],
            "image": [f"{product}.jpg" for product, _ in rows],
        }
    )
    write_catalog(path, table, embeddings, model_id=1, categories=CATEGORIES)
    return Catalog.open(path)


def distance_by_loops(
    scene: SceneEmbedding, category: int, product: NDArray[np.float32]
) -> tuple[float, float]:
    """The paper's global and local distance, summed region by region."""
    assert scene.attention is not None
    assert scene.regions is not None
    global_distance = sum(
        (float(a) - float(b)) ** 2 for a, b in zip(scene.embedding, product, strict=True)
    )
    local_distance = 0.0
    for weight, region in zip(scene.attention[category].reshape(-1), scene.regions, strict=True):
        squared = sum((float(a) - float(b)) ** 2 for a, b in zip(region, product, strict=True))
        local_distance += float(weight) * squared
    return global_distance, local_distance


@pytest.mark.parametrize("category", range(len(CATEGORIES)), ids=CATEGORIES)
def test_distances_and_order_are_the_papers_sum_over_regions(tmp_path, category: int) -> None:
    generator = np.random.default_rng(category)
    scene = random_scene(generator)
    embeddings = unit_vectors(generator, 40)
    ids = [f"p{index:02d}" for index in range(40)]
    catalog = make_catalog(tmp_path / "c.arrow", {CATEGORIES[category]: ids}, embeddings)

    matches = rank(scene, catalog, CATEGORIES[category], top=40)

    by_loops = {
        product: distance_by_loops(scene, category, embedding)
        for product, embedding in zip(ids, embeddings, strict=True)
    }
    assert [match.id for match in matches] == sorted(
        ids, key=lambda product: sum(by_loops[product])
    )
    for match in matches:
        parts = (match.global_distance, match.local_distance)
        assert parts == pytest.approx(by_loops[match.id], abs=1e-5)
        assert match.distance == pytest.approx(sum(parts) / 2, abs=1e-12)


@pytest.mark.parametrize("top", [1, 7, 99, 100, 101])
def test_the_top_is_the_head_of_the_whole_order(tmp_path, top: int) -> None:
    generator = np.random.default_rng(0)
    scene = random_scene(generator)
    ids = [f"p{index:03d}" for index in range(100)]
    catalog = make_catalog(tmp_path / "c.arrow", {"Rugs": ids}, unit_vectors(generator, 100))
    whole = rank(scene, catalog, "Rugs", top=100)
    assert rank(scene, catalog, "Rugs", top=top) == whole[:top]


def test_products_a_rounding_apart_come_in_one_order_whatever_the_top(tmp_path) -> None:
    generator = np.random.default_rng(0)
    scene = random_scene(generator)
    steps = generator.integers(-1, 2, size=(200, 128)) * np.finfo(np.float32).eps / 16
    embeddings = (scene.embedding + steps).astype(np.float32)
    ids = [f"p{index:03d}" for index in range(200)]
    catalog = make_catalog(tmp_path / "c.arrow", {"Rugs": ids}, embeddings)
    whole = rank(scene, catalog, "Rugs", top=200)
    for top in range(1, 200, 9):
        assert rank(scene, catalog, "Rugs", top=top) == whole[:top]


@pytest.mark.parametrize("top", [1, 4, 9, 30])
def test_equal_products_come_in_the_order_of_their_ids(tmp_path, top: int) -> None:
    generator = np.random.default_rng(0)
    scene = random_scene(generator)
    near, far = -unit_vectors(generator, 2)
    near = scene.embedding
    ids = [f"p{index:02d}" for index in range(30)]
    embeddings = np.stack([near if index % 3 else far for index in range(30)])
    shuffled = generator.permutation(30)
    catalog = make_catalog(
        tmp_path / "c.arrow", {"Rugs": [ids[index] for index in shuffled]}, embeddings[shuffled]
    )
    expected = [product for index, product in enumerate(ids) if index % 3] + ids[::3]
    assert [match.id for match in rank(scene, catalog, "Rugs", top=top)] == expected[:top]


def test_a_match_carries_the_product(tmp_path) -> None:
    embeddings = unit_vectors(np.random.default_rng(0), 3)
    table = pa.table(
        {
            "id": ["r1", "r2", "l1"],
            "category": ["Rugs", "Rugs", "Lamps"],
            "image": ["r1.jpg", "https://shop.example/r2.jpg", "l1.jpg"],
            "price": [1.5, None, 2.5],
            "sizes": [["S", "M"], [], None],
        }
    )
    write_catalog(tmp_path / "c.arrow", table, embeddings, model_id=1, categories=CATEGORIES)
    matches = rank(
        random_scene(np.random.default_rng(0)), Catalog.open(tmp_path / "c.arrow"), "Rugs"
    )
    by_id = {match.id: match for match in matches}
    assert by_id["r1"].product == {"price": 1.5, "sizes": ["S", "M"]}
    assert by_id["r2"].product == {"price": None, "sizes": []}
    assert by_id["r1"].image == str(tmp_path / "r1.jpg")
    assert by_id["r2"].image == "https://shop.example/r2.jpg"
    assert by_id["r1"].shown(["sizes"]) == {"sizes": ["S", "M"]}
    assert len({*matches, *matches}) == 2


@pytest.mark.parametrize("top", [1, 3, 30])
def test_ranking_is_the_same_whatever_the_store(tmp_path, top: int) -> None:
    generator = np.random.default_rng(0)
    scene = random_scene(generator)
    ids = [f"p{index:02d}" for index in range(30)]
    embeddings = unit_vectors(generator, 10)[np.arange(30) % 10]  # each of ten thrice
    catalog = make_catalog(tmp_path / "c.arrow", {"Rugs": ids}, embeddings)
    other = DictCatalog(1, CATEGORIES)
    other.upsert(catalog.get(ids).products, embeddings)
    assert rank(scene, other, "rugs", top=top) == rank(scene, catalog, "Rugs", top=top)
    assert categories_to_rank(other, []) == ["Rugs"]


@pytest.mark.parametrize("variety", [NO_VARIETY, Variety(fold_duplicates=True, diversity=0.3)])
def test_many_scenes_at_once_are_ranked_as_each_alone(tmp_path, variety: Variety) -> None:
    generator = np.random.default_rng(0)
    scenes = [random_scene(generator) for _ in range(5)]
    products = {"Rugs": [f"r{row:03d}" for row in range(300)], "Lamps": ["a", "b"]}
    embeddings = unit_vectors(generator, 302)
    embeddings[100:200] = embeddings[:100]
    catalog = make_catalog(tmp_path / "c.arrow", products, embeddings)
    alone = [rank_scene(scene, catalog, top=7, variety=variety) for scene in scenes]
    assert rank_scenes(scenes, catalog, top=7, variety=variety) == alone
    assert rank_scenes([], catalog) == []


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=3),
    directions=st.integers(1, 50),
    queries=st.integers(1, 4),
    top=st.integers(1, 60),
    seed=st.integers(0, 5),
)
def test_the_nearest_rows_are_those_of_a_look_at_each_and_its_ties(
    sizes: list[int], directions: int, queries: int, top: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    few = unit_vectors(generator, directions)  # so that there are ties
    pieces, vectors = [], np.empty((0, 128), np.float32)
    for size in sizes:
        pieces.append((len(vectors), few[generator.integers(directions, size=size)]))
        vectors = np.concatenate([vectors, pieces[-1][1]])
    asked = unit_vectors(generator, queries)
    for query, rows in zip(asked, nearest_rows(pieces, asked, top), strict=True):
        products = (vectors.astype(np.float64) @ query.astype(np.float64)).tolist()
        last = sorted(products, reverse=True)[:top][-1]
        found = rows.tolist()
        assert found == sorted(found)
        assert {row for row, each in enumerate(products) if each > last - ROUNDING / 2} <= {*found}
        assert min(products[row] for row in found) > last - 2 * ROUNDING


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["embedding", "contexts"])
def test_a_scene_that_is_not_finite_is_an_error_and_no_empty_rank(tmp_path, where, value) -> None:
    generator = np.random.default_rng(0)
    scene = random_scene(generator)
    getattr(scene, where)[..., 7] = value
    catalog = make_catalog(tmp_path / "c.arrow", {"Rugs": ["r"]}, unit_vectors(generator, 1))
    with pytest.raises(ContractError, match="not finite"):
        rank(scene, catalog, "Rugs")


@pytest.mark.parametrize("top", [0, -1])
def test_a_top_below_1_is_refused(tmp_path, top: int) -> None:
    generator = np.random.default_rng(0)
    catalog = make_catalog(tmp_path / "c.arrow", {"Rugs": ["r"]}, unit_vectors(generator, 1))
    with pytest.raises(UsageError, match=f"top is {top}, expected at least 1"):
        rank(random_scene(generator), catalog, "Rugs", top=top)


@pytest.fixture
def calibrated(tmp_path: Path):
    """Rank 60 rugs with a map whose knots lie among their distances."""
    generator = np.random.default_rng(0)
    scene = random_scene(generator)
    ids = [f"p{index:02d}" for index in range(60)]
    catalog = make_catalog(tmp_path / "c.arrow", {"Rugs": ids}, unit_vectors(generator, 60))
    distances = [match.distance for match in rank(scene, catalog, "Rugs", top=60)]
    calibration = Calibration((distances[5], distances[50]), (0.95, 0.05))
    return lambda top: rank(scene, catalog, "Rugs", top=top, calibration=calibration)


def test_compatibility_falls_with_the_distance_between_the_knots(calibrated) -> None:
    matches = calibrated(60)
    first, last = matches[5].distance, matches[50].distance
    for place, match in enumerate(matches):
        share = (match.distance - first) / (last - first)
        expected = 0.95 if place < 5 else 0.05 if place > 50 else 0.95 - 0.9 * share
        assert match.compatibility == pytest.approx(expected)


def test_without_a_calibration_there_is_no_compatibility(tmp_path) -> None:
    generator = np.random.default_rng(0)
    catalog = make_catalog(tmp_path / "c.arrow", {"Rugs": ["r"]}, unit_vectors(generator, 1))
    assert rank(random_scene(generator), catalog, "Rugs")[0].compatibility is None


@pytest.mark.parametrize("top", [1, 10, 60])
@pytest.mark.parametrize("minimum", [0.0, 0.5, 0.95, 0.96, 1.0])
def test_a_minimum_keeps_the_same_products_before_and_after_the_top(
    calibrated, top: int, minimum: float
) -> None:
    fitting = [match for match in calibrated(60) if match.compatibility >= minimum]
    assert compatible(calibrated(top), minimum) == fitting[:top]


def test_a_minimum_keeps_what_just_reaches_it(calibrated) -> None:
    assert len(compatible(calibrated(60), 0.95)) == 6
    assert compatible(calibrated(60), None) == calibrated(60)


def test_a_scene_is_ranked_in_every_category_it_can_be(tmp_path) -> None:
    generator = np.random.default_rng(0)
    scene = random_scene(generator)
    products = {"Beds": ["b"], "Lamps": ["l"], "Sofas": ["s", "t"]}
    catalog = make_catalog(tmp_path / "c.arrow", products, unit_vectors(generator, 4))
    ranked = rank_scene(scene, catalog, top=1)
    assert list(ranked) == ["Sofas", "Lamps"]
    assert ranked == {name: rank(scene, catalog, name, top=1) for name in ("Sofas", "Lamps")}
    assert list(rank_scene(scene, catalog, ["lamps"])) == ["Lamps"]
    level = Calibration((1.0,), (0.5,))
    assert rank_scene(scene, catalog, min_compatibility=0.6, calibration=level) == {
        "Sofas": [],
        "Lamps": [],
    }
    with pytest.raises(NotCalibrated, match="completelook-build calibrate"):
        rank_scene(scene, catalog, min_compatibility=0.6)


def test_categories_to_rank_are_shared_ones_in_the_models_order(tmp_path) -> None:
    products = {"Beds": ["b"], "Lamps": ["l"], "Sofas": ["s"]}
    embeddings = unit_vectors(np.random.default_rng(0), 3)
    catalog = make_catalog(tmp_path / "c.arrow", products, embeddings)
    assert categories_to_rank(catalog, []) == ["Sofas", "Lamps"]
    assert categories_to_rank(catalog, ["lamps", "sofas", "Lamps"]) == ["Lamps", "Sofas"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param(["Beds"], "Beds", id="held, but the model does not know it"),
        pytest.param(["Rugs"], "Rugs", id="known, but the catalog holds none"),
        pytest.param([], "holds none of its model's categories", id="nothing shared"),
    ],
)
def test_a_category_that_cannot_be_ranked_is_an_error(tmp_path, wanted, message) -> None:
    embeddings = unit_vectors(np.random.default_rng(0), 1)
    catalog = make_catalog(tmp_path / "c.arrow", {"Beds": ["b"]}, embeddings)
    with pytest.raises(CategoryError, match=message):
        categories_to_rank(catalog, wanted)
