import asyncio

import numpy as np
import pytest
from completelook import AsyncCompleteLook, Catalog, CompleteLook, SceneEmbedding, UsageError
from completelook.explain import contributions, support
from completelook.ranking import NO_STEERING, Steering, complete, rank, rank_scenes, steered
from fakes import FakeTriton, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ranking import (
    CATEGORIES,
    distance_by_loops,
    make_catalog,
    random_scene,
    unit_vectors,
)

LEFT_HALF = (0.0, 0.0, 0.5, 1.0)


def one_region(row: int, column: int) -> tuple[float, float, float, float]:
    return column / 14, row / 14, (column + 1) / 14, (row + 1) / 14


def within(box, x: float, y: float) -> bool:
    left, top, right, bottom = box
    return left <= x < right and top <= y < bottom


def shares_by_points(steering: Steering, points: int = 20) -> np.ndarray:
    """How much of each region counts, by a look at many points of it, [14, 14]."""
    shares = np.zeros((14, 14))
    for row, column in np.ndindex(14 * points, 14 * points):
        x, y = (column + 0.5) / (14 * points), (row + 0.5) / (14 * points)
        counts = not steering.focus or any(within(box, x, y) for box in steering.focus)
        if counts and not any(within(box, x, y) for box in steering.ignore):
            shares[row // points, column // points] += 1 / points**2
    return shares


@pytest.mark.parametrize(
    "steering",
    [
        Steering(ignore=[(0.13, 0.02, 0.4, 0.71)]),
        Steering(focus=[(0.13, 0.02, 0.4, 0.71), (0.3, 0.5, 0.9, 0.95)]),
        Steering(ignore=[(0.2, 0.2, 0.5, 0.5)], focus=[(0.1, 0.1, 0.6, 0.9)]),
        Steering(ignore=[(0.4, 0.4, 0.41, 0.41)]),
    ],
    ids=["a hole", "two that overlap", "a hole in the focus", "less than a region"],
)
def test_a_region_counts_by_the_share_of_its_area_that_is_left(steering: Steering) -> None:
    np.testing.assert_allclose(steering.shares, shares_by_points(steering), atol=0.06)
    np.testing.assert_allclose(steering.shares.mean(), shares_by_points(steering).mean(), atol=3e-3)


BOXES = st.tuples(*[st.integers(0, 13)] * 2, *[st.integers(1, 7)] * 2).map(
    lambda box: (
        box[0] / 14,
        box[1] / 14,
        min(box[0] + box[2], 14) / 14,
        min(box[1] + box[3], 14) / 14,
    )
)


@settings(max_examples=50)
@given(
    ignore=st.lists(BOXES, max_size=3), focus=st.lists(BOXES, max_size=3), seed=st.integers(0, 9)
)
def test_a_steered_distance_is_the_papers_sum_over_the_regions_that_are_left(
    ignore, focus, seed: int
) -> None:
    scene = random_scene(np.random.default_rng(seed))
    product = unit_vectors(np.random.default_rng(seed + 1), 1)[0]
    left = [
        not any(within(box, x, y) for box in ignore)
        and (not focus or any(within(box, x, y) for box in focus))
        for row, column in np.ndindex(14, 14)
        for x, y in [((column + 0.5) / 14, (row + 0.5) / 14)]
    ]
    if not any(left):
        with pytest.raises(UsageError, match="nothing of the photo"):
            Steering(ignore, focus)
        return
    found = steered(scene, Steering(ignore, focus))
    weights = [
        float(weight) if counts else 0.0
        for weight, counts in zip(scene.attention[1].ravel(), left, strict=True)
    ]
    by_loops = sum(
        weight
        / sum(weights)
        * sum((float(a) - float(b)) ** 2 for a, b in zip(region, product, strict=True))
        for weight, region in zip(weights, scene.regions, strict=True)
    )
    assert 2 - 2 * float(found.contexts[1] @ product) == pytest.approx(by_loops, abs=1e-5)
    assert contributions(found, 1, product).sum() == pytest.approx(by_loops, abs=1e-5)
    assert found.embedding is scene.embedding


def test_without_boxes_the_scene_is_as_it_was() -> None:
    scene = random_scene(np.random.default_rng(0))
    assert steered(scene, NO_STEERING) is scene
    whole = steered(scene, Steering(focus=[(0, 0, 1, 1)]))
    np.testing.assert_allclose(whole.contexts, scene.contexts, atol=1e-6)


@pytest.mark.parametrize("elsewhere", [0.0, 1e-45, 1e-40, 1e-30, 1e-10])
def test_attention_that_underflows_outside_the_box_still_sums_to_1(elsewhere: float) -> None:
    scene = random_scene(np.random.default_rng(0))
    scene.attention[:] = elsewhere
    scene.attention[:, 0, 0] = 1
    found = steered(scene, Steering(ignore=[one_region(0, 0)]))
    expected = np.full((14, 14), 1 / 195)
    expected[0, 0] = 0
    np.testing.assert_allclose(found.attention[1], expected, rtol=1e-4)
    np.testing.assert_allclose(found.contexts[1], scene.regions[1:].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 1),
        (0.5, 0, 0.4, 1),
        (0, 0, 320, 200),
        (-0.1, 0, 1, 1),
        (0, 0, np.nan, 1),
        (0, 1),
        3,
        "abcd",
    ],
    ids=str,
)
def test_what_is_no_box_is_refused_with_the_way_out(box) -> None:
    with pytest.raises(UsageError, match=r"in fractions of the photo.*divide pixels"):
        Steering(ignore=[box])
    with pytest.raises(UsageError, match="focus"):
        Steering(focus=[box])


@pytest.mark.parametrize(
    "boxes",
    [
        {"ignore": [(0, 0, 1, 1)]},
        {"ignore": [(0, 0, 0.3, 1), (0.3, 0, 1, 1)]},
        {"ignore": [LEFT_HALF], "focus": [(0.1, 0.1, 0.2, 0.2)]},
    ],
    ids=["all", "all in two", "the focus"],
)
def test_to_leave_nothing_to_look_at_is_refused(boxes) -> None:
    with pytest.raises(UsageError, match="nothing of the photo is left to look at"):
        Steering(**boxes)


def test_a_scene_without_regions_cannot_be_steered(look: CompleteLook, catalog: Catalog) -> None:
    scene = look.embed_scene(picture(3))
    for ranked in (rank, complete):
        with pytest.raises(UsageError, match="regions=True"):
            ranked(scene, catalog, "Rugs", steering=Steering(ignore=[LEFT_HALF]))


# Rugs attend to regions 0 and 1, half and half: in a scene of another color products 0 and 1 have
# the local distance 1, all others 2. Without region 0, product 1 has 0 and product 0 has 2.
WITHOUT_REGION_0 = Steering(ignore=[one_region(0, 0)])


def test_what_would_rank_first_without_the_sofa_is_one_call(
    look: CompleteLook, triton: FakeTriton, catalog: Catalog
) -> None:
    scene = picture(9)
    assert [match.id for match in look.rank(scene, catalog, "Rugs", top=2)] == ["rug-0", "rug-1"]
    found = look.rank(scene, catalog, "Rugs", top=2, steering=WITHOUT_REGION_0)
    assert [(match.id, match.local_distance) for match in found] == [("rug-1", 0), ("rug-0", 2)]
    assert triton.calls["ModelInfer"] == 2


def test_what_is_known_is_steered_without_a_request(
    look: CompleteLook, triton: FakeTriton, catalog: Catalog
) -> None:
    scene = look.embed_scene(picture(9), regions=True)
    for steering in (WITHOUT_REGION_0, Steering(focus=[one_region(0, 1)])):
        first = look.rank(scene, catalog, "Rugs", steering=steering)[0]
        assert (first.id, first.local_distance) == ("rug-1", 0)
    assert triton.calls["ModelInfer"] == 1


def test_both_clients_steer_alike(
    triton: FakeTriton, look: CompleteLook, catalog, tmp_path
) -> None:
    photo = str(tmp_path / "nine.png")
    picture(9).save(photo)

    async def asked():
        async with AsyncCompleteLook(triton.address) as client:
            one = await client.rank_scene(photo, catalog, steering=WITHOUT_REGION_0)
            many = client.rank_scenes([photo], catalog, steering=WITHOUT_REGION_0)
            looks = await client.complete(photo, catalog, ["Rugs"], steering=WITHOUT_REGION_0)
            return one, [each async for each in many], looks

    one, [ranked], looks = asyncio.run(asked())
    assert one == ranked.matches == look.rank_scene(photo, catalog, steering=WITHOUT_REGION_0)
    [waited] = look.rank_scenes([photo], catalog, steering=WITHOUT_REGION_0)
    assert waited.matches == one
    assert looks == look.complete(photo, catalog, ["Rugs"], steering=WITHOUT_REGION_0)
    assert looks.looks[0].matches[0].id == "rug-1"
    # What came back is the scene as it was steered, and its parts add up.
    rug = one["Home|Rugs"][0]
    embedding = catalog.get([rug.id]).embeddings[0]
    for found in (ranked, waited):
        assert contributions(found.embedding, 0, embedding).sum() == rug.local_distance


def test_many_scenes_are_steered_as_one_by_one(tmp_path) -> None:
    generator = np.random.default_rng(0)
    scenes = [random_scene(generator) for _ in range(3)]
    ids = [f"p{index}" for index in range(20)]
    products = {"Rugs": ids, "Lamps": [f"l{each}" for each in ids]}
    catalog = make_catalog(tmp_path / "c.arrow", products, unit_vectors(generator, 40))
    steering = Steering(focus=[LEFT_HALF])
    alone = [
        {name: rank(scene, catalog, name, steering=steering) for name in products}
        for scene in scenes
    ]
    assert rank_scenes(scenes, catalog, ["Rugs", "Lamps"], steering=steering) == alone
    assert alone[0] != rank_scenes(scenes, catalog, ["Rugs", "Lamps"])[0]


@pytest.mark.parametrize("row", range(len(CATEGORIES)), ids=CATEGORIES)
def test_contributions_are_the_parts_of_the_paper_s_local_distance(tmp_path, row: int) -> None:
    generator = np.random.default_rng(row)
    scene, embeddings = random_scene(generator), unit_vectors(generator, 30)
    ids = [f"p{index:02d}" for index in range(30)]
    catalog = make_catalog(tmp_path / "c.arrow", {CATEGORIES[row]: ids}, embeddings)
    matches = rank(scene, catalog, CATEGORIES[row], top=30)
    held = catalog.get([match.id for match in matches]).embeddings
    maps = contributions(scene, row, held)
    assert maps.shape == (30, 14, 14)
    for match, embedding, parts in zip(matches, held, maps, strict=True):
        assert parts.sum() == pytest.approx(match.local_distance, abs=1e-5)
        assert parts.sum() == pytest.approx(distance_by_loops(scene, row, embedding)[1], abs=1e-5)
        for place, weight in enumerate(scene.attention[row].ravel()):
            region = scene.regions[place].astype(float)
            squared = ((region - embedding.astype(float)) ** 2).sum()
            assert parts.ravel()[place] == pytest.approx(float(weight) * squared, abs=1e-6)
        np.testing.assert_allclose(contributions(scene, row, embedding), parts, atol=1e-12)


def test_a_scene_without_regions_has_no_contributions() -> None:
    whole = random_scene(np.random.default_rng(0))
    bare = SceneEmbedding(whole.embedding, whole.contexts, 1)
    with pytest.raises(ValueError, match="regions=True"):
        contributions(bare, 0, whole.embedding)


def test_what_speaks_for_a_product_is_the_rest_of_the_attention() -> None:
    generator = np.random.default_rng(0)
    scene, products = random_scene(generator), unit_vectors(generator, 3)
    maps, parts = support(scene, 2, products), contributions(scene, 2, products)
    np.testing.assert_allclose(parts, 2 * (scene.attention[2] - maps), atol=1e-12)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1 - parts.sum(axis=(1, 2)) / 2, atol=1e-6)
    for place, region in enumerate(scene.regions):
        assert (maps[0].ravel()[place] > 0) == (((region - products[0]) ** 2).sum() < 2)
