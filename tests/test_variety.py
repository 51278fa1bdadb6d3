"""Variety: groups, near duplicates and diversity, each against an oracle of plain loops."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from completelook import Catalog, CatalogError, SceneEmbedding, UsageError
from completelook.catalog import write_catalog
from completelook.ranking import Calibration, Variety, rank
from completelook.ranking.variety import NEAR_DUPLICATE, POOL
from hypothesis import given, settings
from hypothesis import strategies as st


def unit(vector):
    return vector / np.linalg.norm(vector)


def scene_of(generator) -> SceneEmbedding:
    return SceneEmbedding(
        embedding=unit(generator.normal(size=128)).astype(np.float32),
        contexts=(unit(generator.normal(size=(1, 128))) * 0.7).astype(np.float32),
        model_id=1,
    )


def shop(folder, seed: int, count: int, models: int, clones: int) -> tuple[SceneEmbedding, Catalog]:
    """Rugs of some models, None among them, some near duplicates of others, some just not."""
    generator = np.random.default_rng(seed)
    embeddings = np.stack([unit(generator.normal(size=128)) for _ in range(count)])
    for _ in range(clones):
        one, other = generator.integers(count, size=2)
        step = unit(generator.normal(size=128)) * np.sqrt(NEAR_DUPLICATE)
        embeddings[one] = unit(embeddings[other] + step * generator.choice([0, 0.5, 1.5]))
    table = pa.table(
        {
            "id": [f"p{row:02d}" for row in range(count)],
            "category": ["Rugs"] * count,
            "image": ["x.jpg"] * count,
            "model": pa.array(
                [
                    None if name == 0 else f"m{name}"
                    for name in generator.integers(models, size=count)
                ],
                pa.string(),
            ),
        }
    )
    path = Path(folder) / "c.arrow"
    write_catalog(path, table, embeddings.astype(np.float32), model_id=1, categories=("Rugs",))
    return scene_of(generator), Catalog.open(path)


def squared(one, other) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(one, other, strict=True))


def by_loops(scene, catalog, top, variety) -> list[tuple[str, list[str]]]:
    """The ids shown, each with those it stands for, worked out one by one."""
    whole = rank(scene, catalog, "Rugs", top=len(catalog))
    embedding = {match.id: catalog.get([match.id]).embeddings[0] for match in whole}
    shown: list[tuple[str, list[str]]] = []
    model_of: dict[str, int] = {}
    for match in whole:
        model = match.product["model"] if variety.group_by else None
        joined = model_of.get(model)
        if joined is None and variety.fold_duplicates:
            near = [squared(embedding[match.id], embedding[first]) for first, _ in shown]
            if near and min(near) < NEAR_DUPLICATE:
                joined = near.index(min(near))
        if joined is None:
            if len(shown) == (top * POOL if variety.diversity else top):
                break
            joined = len(shown)
            shown.append((match.id, []))
        else:
            shown[joined][1].append(match.id)
        if model:
            model_of.setdefault(model, joined)
    if not variety.folds:
        shown = shown[: top * POOL if variety.diversity else top]
    if not variety.diversity:
        return shown
    distance = {match.id: match.distance for match in whole}
    chosen: list[tuple[str, list[str]]] = []
    while shown and len(chosen) < top:
        values = []
        for id_, _ in shown:
            value = (1 - variety.diversity) * (1 - distance[id_] / 2)
            if chosen:
                value -= variety.diversity * max(
                    sum(
                        float(a) * float(b)
                        for a, b in zip(embedding[id_], embedding[c], strict=True)
                    )
                    for c, _ in chosen
                )
            values.append(value)
        best = 0 if not chosen else max(range(len(shown)), key=lambda place: values[place])
        chosen.append(shown.pop(best))
    return chosen


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 40),
    models=st.integers(1, 12),
    clones=st.integers(0, 30),
    top=st.integers(1, 8),
    variety=st.builds(
        Variety,
        group_by=st.sampled_from([None, "model"]),
        fold_duplicates=st.booleans(),
        diversity=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    ),
)
@settings(max_examples=100)
def test_what_is_shown_and_what_it_stands_for_is_what_loops_find(
    seed, count, models, clones, top, variety
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene, catalog = shop(folder, seed, count, models, clones)
        matches = rank(scene, catalog, "Rugs", top=top, variety=variety)
        expected = by_loops(scene, catalog, top, variety)
    assert [(match.id, list(match.folded)) for match in matches] == expected
    assert [match.rank for match in matches] == list(range(1, len(matches) + 1))


def test_without_variety_nothing_stands_for_anything(tmp_path) -> None:
    scene, catalog = shop(tmp_path, 0, 30, 3, 30)
    plain = rank(scene, catalog, "Rugs")
    assert [match.folded for match in plain] == [()] * 10
    assert rank(scene, catalog, "Rugs", variety=Variety(diversity=0.0)) == plain


def test_diversity_never_brings_in_what_is_not_compatible_enough(tmp_path) -> None:
    scene, catalog = shop(tmp_path, 0, 40, 1, 0)
    whole = rank(scene, catalog, "Rugs", top=40)
    calibration = Calibration((whole[0].distance, whole[19].distance), (1.0, 0.5))
    fitting = {match.id for match in whole[:10]}
    minimum = rank(scene, catalog, "Rugs", top=40, calibration=calibration)[9].compatibility
    shown = rank(
        scene,
        catalog,
        "Rugs",
        top=5,
        min_compatibility=minimum,
        calibration=calibration,
        variety=Variety(diversity=1.0),
    )
    assert {match.id for match in shown} < fitting


def test_conditions_come_before_variety(tmp_path) -> None:
    scene, catalog = shop(tmp_path, 1, 30, 4, 0)
    matches = rank(
        scene, catalog, "Rugs", where=["model!=m1"], variety=Variety(group_by="model"), top=30
    )
    names = [match.product["model"] for match in matches]
    assert sorted(names) == ["m2", "m3"]


@pytest.mark.parametrize("diversity", [-0.1, 1.1, float("nan")])
def test_a_diversity_outside_its_range_is_refused(diversity) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        Variety(diversity=diversity)


def test_a_group_that_is_no_column_is_an_error_that_lists_what_is(tmp_path) -> None:
    scene, catalog = shop(tmp_path, 0, 3, 3, 0)
    with pytest.raises(CatalogError, match="no column 'modell': it has 'model'"):
        rank(scene, catalog, "Rugs", variety=Variety(group_by="modell"))
