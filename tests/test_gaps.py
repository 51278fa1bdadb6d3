"""What an assortment lacks: groups of directions, and gaps, against what loops find."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from completelook import Catalog, RankedScene, SceneEmbedding, cli
from completelook.catalog import write_catalog
from completelook.ranking import Calibration, find_gaps, rank_scene
from completelook.ranking.gaps.cover import cover
from completelook.ranking.gaps.gaps import ALIKE
from fakes import CALIBRATION, FakeTriton, picture
from hypothesis import given, settings
from hypothesis import strategies as st

KNOTS = Calibration((0.2, 2.2), (0.95, 0.05))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def product_of(one, other) -> float:
    return sum(float(a) * float(b) for a, b in zip(one, other, strict=True))


def distance(query, product) -> float:
    return 2 - product_of(query, product)


@given(
    groups=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    spread=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    least=st.sampled_from([0.3, 0.6, 0.9]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_each_direction_is_near_the_one_spot_that_it_is_at(groups, spread, least, seed) -> None:
    generator = np.random.default_rng(seed)
    middles = unit(generator.normal(size=(len(groups), 30)))
    rows = [row for row, size in enumerate(groups) for _ in range(size)]
    directions = unit(middles[rows] + spread * unit(generator.normal(size=(len(rows), 30))))
    spots = cover(directions, least)

    assert sorted(row for spot in spots for row in spot.members) == [*range(len(rows))]
    for spot in spots:
        assert np.linalg.norm(spot.center) == pytest.approx(1)
        near = [product_of(directions[row], spot.center) for row in spot.members]
        assert min(near) >= least - 1e-9
    # To no direction more are near than are at the first spot.
    near = [
        sum(product_of(one, other) >= least + 1e-9 for other in directions) for one in directions
    ]
    sizes = [len(spot.members) for spot in spots]
    assert sizes[0] >= max(near)
    assert sizes == sorted(sizes, reverse=True)


def test_a_middle_that_is_no_direction_of_its_own_holds_two_together() -> None:
    directions = np.eye(4)[:2]
    assert [spot.members for spot in cover(directions, 0.7)] == [(0, 1)]
    assert [spot.members for spot in cover(directions, 0.8)] == [(0,), (1,)]


def ranked_scenes(generator, catalog, count: int) -> list[RankedScene]:
    scenes = []
    for number in range(count):
        embedding = SceneEmbedding(
            unit(generator.normal(size=128)).astype(np.float32),
            (unit(generator.normal(size=(2, 128))) * 0.4).astype(np.float32),
            model_id=1,
        )
        found = rank_scene(embedding, catalog, top=1, calibration=KNOTS)
        scenes.append(RankedScene(f"{number}.jpg", embedding, found))
    return scenes


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    generator = np.random.default_rng(1)
    table = pa.table(
        {
            "id": [f"p{row:02d}" for row in range(31)],
            "category": ["Rugs"] * 30 + ["Lamps"],
            "image": ["x.jpg"] * 31,
        }
    )
    embeddings = unit(generator.normal(size=(31, 128))).astype(np.float32)
    path = tmp_path / "c.arrow"
    write_catalog(path, table, embeddings, model_id=1, categories=("Rugs", "Lamps"))
    return Catalog.open(path)


def test_gaps_are_those_that_loops_find(catalog) -> None:
    generator = np.random.default_rng(2)
    scenes = ranked_scenes(generator, catalog, 25)
    minimum = 0.24
    found = {
        gap.category: gap for gap in find_gaps(scenes, catalog, KNOTS, min_compatibility=minimum)
    }
    for row, (category, ids) in enumerate(
        {"Rugs": [f"p{row:02d}" for row in range(30)], "Lamps": ["p30"]}.items()
    ):
        gap = found[category]
        products = dict(zip(ids, catalog.get(ids).embeddings, strict=True))
        queries = {
            scene.source: scene.embedding.embedding + scene.embedding.contexts[row]
            for scene in scenes
        }

        def fit(query, product) -> float:
            return float(KNOTS.compatibility(np.array(distance(query, product))))

        best = {
            source: max(fit(query, each) for each in products.values())
            for source, query in queries.items()
        }
        unmet = {source for source, value in best.items() if value < minimum}
        assert {each.scene for each in gap.unmet} == unmet
        assert (gap.scenes, gap.products) == (25, len(ids))
        assert gap.rate == len(unmet) / 25
        told = [each.best.compatibility for each in gap.unmet]
        assert told == sorted(told)
        asked = [scene for region in gap.regions for scene in region.scenes]
        assert sorted([*asked, *gap.out_of_reach]) == sorted(unmet)
        lengths = {source: float(np.linalg.norm(query)) for source, query in queries.items()}
        for source in unmet:
            possible = float(KNOTS.compatibility(np.array(2 - lengths[source])))
            assert (source in gap.out_of_reach) == (possible < minimum)
        for region in gap.regions:
            own = [queries[scene] for scene in region.scenes]
            fits = {
                id_: sum(fit(query, each) for query in own) / len(own)
                for id_, each in products.items()
            }
            order = sorted(ids, key=lambda id_: -fits[id_])
            assert [each.product.id for each in region.nearest] == order[:6]
            for each in region.nearest:
                assert each.compatibility == pytest.approx(fits[each.product.id], abs=1e-6)
            assert region.bounds == region.nearest[:2]
            now = sum(best[scene] for scene in region.scenes) / len(own)
            assert region.best_now == pytest.approx(now, abs=1e-6)
            assert_alike(own, products)
    assert 0 < len(found["Rugs"].unmet) < 25
    assert len(found["Lamps"].regions) == 1  # of one product nothing tells styles apart


def assert_alike(queries, products) -> None:
    """The similarities of each scene to the products correlate with their middle's."""
    if len(products) == 1:
        return
    rows = [[product_of(query, each) for each in products.values()] for query in queries]
    profiles = [unit(np.array(row) - sum(row) / len(row)) for row in rows]
    middle = sum(profiles)
    for profile in profiles:
        assert np.corrcoef(profile, middle)[0, 1] >= ALIKE - 1e-9


def test_where_everything_fits_there_is_nothing_to_buy(catalog) -> None:
    scenes = ranked_scenes(np.random.default_rng(2), catalog, 3)
    gaps = find_gaps(scenes, catalog, KNOTS, min_compatibility=0.0)
    assert [(gap.unmet, gap.regions, gap.rate) for gap in gaps] == [((), (), 0.0)] * 2
    assert find_gaps([], catalog, KNOTS, min_compatibility=0.5) == []


@pytest.fixture
def run(triton: FakeTriton, monkeypatch, capsys):
    monkeypatch.setenv("COMPLETELOOK_SERVER", triton.address)

    def run_command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["completelook", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return int(caught.value.code or 0), output.out, output.err

    return run_command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Rooms of red values 3, that a rug fits, and 70 and 71, that only rugs 0 and 1 come near."""
    folder = tmp_path / "photos" / "of May"
    folder.mkdir(parents=True)
    for red in (3, 70, 71):
        picture(red).save(folder / f"{red}.png")
    (folder / "notes.txt").write_text("no photo")
    return folder.parent


def test_gaps_prints_a_line_a_category_and_a_page(
    run, triton, photos, catalog_path, tmp_path
) -> None:
    triton.calibration_text = CALIBRATION
    page = tmp_path / "gaps.html"
    arguments = ["gaps", photos, "--catalog", catalog_path, "--min-compatibility", 0.6]
    code, out, err = run(*arguments, "--html", page)
    assert (code, err.strip()) == (0, f"wrote {page}")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith("Home|Rugs 6 2 67% of 3 ") for line in lines)
    text = page.read_text()
    assert "nothing fits 2 of 3 photos" in " ".join(text.split())
    assert "http" not in text.replace("http://www.w3.org", "")
    assert text.count('alt="Photo 70.png"') >= 1


def test_gaps_as_json_names_scenes_and_bounds(run, triton, photos, catalog_path) -> None:
    triton.calibration_text = CALIBRATION
    code, out, _ = run(
        *("gaps", photos, "--catalog", catalog_path, "--category", "Rugs"),
        *("--min-compatibility", 0.6, "--json"),
    )
    (line,) = map(json.loads, out.splitlines())
    assert (code, line["category"], line["scenes"], line["products"]) == (0, "Home|Rugs", 3, 6)
    assert [Path(each["scene"]).name for each in line["unmet"]] == ["70.png", "71.png"]
    # Rugs 0 and 1 are 1.5 away, halfway between the knots.
    assert [each["compatibility"] for each in line["unmet"]] == pytest.approx([0.5, 0.5])
    (region,) = line["regions"]
    assert region["between"] == ["rug-0", "rug-1"]
    assert [Path(each).name for each in region["scenes"]] == ["70.png", "71.png"]


def test_gaps_of_a_model_that_is_not_calibrated_say_what_to_do(run, photos, catalog_path) -> None:
    code, out, err = run("gaps", photos, "--catalog", catalog_path)
    assert (code, out) == (1, "")
    assert "not calibrated" in err
    assert "completelook-build calibrate" in err


def test_photos_that_cannot_be_read_are_told_and_the_others_count(
    run, triton, photos, catalog_path, tmp_path
) -> None:
    triton.calibration_text = CALIBRATION
    (photos / "broken.png").write_bytes(b"no picture")
    code, out, err = run("gaps", photos, "--catalog", catalog_path, "--json")
    assert code == 3
    assert "broken.png" in err
    assert {json.loads(line)["scenes"] for line in out.splitlines()} == {3}
    assert run("gaps", photos / "broken.png", "--catalog", catalog_path)[0] == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, err = run("gaps", empty, "--catalog", catalog_path)
    assert code == 2
    assert f"{empty}: no photo in this folder: expected " in err
