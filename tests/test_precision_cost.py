"""The cost of a reduced precision, against loops over the exported models' answers."""

import json
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from completelook import load_image
from completelook_build.cli import app
from completelook_build.data import Dataset
from completelook_build.errors import DataError
from completelook_build.export import PrecisionCost, measure_cost, run_chain
from completelook_build.export.precision_cost import TOP, exported_distances, top_overlap
from completelook_build.heads import candidate_rows, heads_distances
from completelook_build.showroom import CATEGORIES
from completelook_build.training import load_model, read_held_out
from PIL import Image
from typer.testing import CliRunner

PRODUCTS = 13
SCENES = ("room0", "room1", "room2")
FITTING = [(SCENES[number % 3], f"rug{number}") for number in range(PRODUCTS)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Three rooms, all of them test scenes, and thirteen rugs: more than are in a top ten."""
    folder = tmp_path_factory.mktemp("precision")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    rugs = [f"rug{number}" for number in range(PRODUCTS)]
    for name in (*SCENES, *rugs):
        # Alike, as products of a category are: precision decides between close distances.
        pixels = 128 + random.integers(-6, 7, (8, 8, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{name}.jpg")
    (category,) = (name for name in CATEGORIES if name.endswith("Rugs"))
    (folder / "categories.json").write_text(json.dumps(dict.fromkeys(rugs, category)))
    lines = [json.dumps({"scene": s, "product": p, "bbox": None}) for s, p in FITTING]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    splits = {"train": [], "validation": [], "test": list(SCENES)}
    (folder / "splits.json").write_text(json.dumps(splits))
    return folder


@pytest.fixture
def measure(shop, small_showroom_model):
    def measured(precision):
        return measure_cost(load_model(small_showroom_model), precision, Dataset.of(shop))

    return measured


def answers(shop, repository, names):
    """What the files of an export answer for some pictures, one by one."""
    modules = {
        name: torch.jit.load(repository / name / "1" / "model.pt")
        for name in ("backbone", "scene_head", "product_head")
    }
    pictures = {name: load_image(shop / "images" / f"{name}.jpg") for name in names}
    return {
        name: run_chain(modules, torch.from_numpy(image[None])) for name, image in pictures.items()
    }


def slow_figures(shop, repositories, row):
    """Each repository's pairwise accuracy, and the overlap of their top tens, by loops."""
    rugs = [f"rug{number}" for number in range(PRODUCTS)]
    found = [answers(shop, repository, (*SCENES, *rugs)) for repository in repositories]
    accuracies, overlaps = ([], []), []
    for scene, product in FITTING:
        tops = []
        for answer, own in zip(found, accuracies, strict=True):
            query = answer[scene]["SCENE_EMBEDDING"] + answer[scene]["CONTEXT_EMBEDDINGS"][:, row]
            distance = {}
            for rug in rugs:
                distance[rug] = 2.0 - float((query * answer[rug]["PRODUCT_EMBEDDING"]).sum())
            negatives = [rug for rug in rugs if (scene, rug) not in FITTING]
            own.append(np.mean([distance[rug] > distance[product] for rug in negatives]))
            tops.append(sorted(rugs, key=distance.get)[:10])
        overlaps.append(sum(rug in tops[0] for rug in tops[1]) / 10)
    return np.mean(accuracies[0]), np.mean(accuracies[1]), np.mean(overlaps)


@pytest.fixture(scope="module")
def exported_as(shop, small_showroom_model, tmp_path_factory):
    """The repository and the report of an export in some precision, with its cost measured."""
    options = ("export", "--model", small_showroom_model, "--data", shop)

    @cache
    def export(precision):
        repository = tmp_path_factory.mktemp(precision)
        where = ("--model-repository", repository, "--precision", precision)
        result = CliRunner().invoke(app, [str(part) for part in (*options, *where)])
        assert result.exit_code == 0, result.output
        return repository, result.stdout

    return export


def test_figures_are_those_of_the_exported_files_by_loops(
    shop, measure, small_showroom_model, exported_as
):
    repositories = [exported_as(precision)[0] for precision in ("fp32", "bf16")]
    names = load_model(small_showroom_model).config.categories
    (row,) = (row for row, name in enumerate(names) if name.endswith("Rugs"))
    reference, reduced, overlap = slow_figures(shop, repositories, row)
    cost = measure("bf16")
    assert (cost.pairs, cost.overlap.pairs, cost.overlap.candidates) == (13, 13, 13.0)
    assert cost.reference_accuracy == pytest.approx(reference)
    assert cost.accuracy == pytest.approx(reduced)
    assert cost.overlap.share == pytest.approx(overlap)
    # Pictures as alike as these show that the reduced precision was used at all.
    assert overlap < 1.0
    assert reduced != reference


def test_the_heads_are_rounded_as_in_the_export_and_not_in_fp32(shop, small_showroom_model):
    model = load_model(small_showroom_model)
    test = read_held_out(model, Dataset.of(shop), ("test",), trained_scenes=True)["test"]
    rows = candidate_rows(test)
    full, short = (exported_distances(model, test, each)(0, rows) for each in ("fp32", "bf16"))
    np.testing.assert_allclose(full, heads_distances(model.heads, test)(0, rows), atol=1e-5)
    assert 1e-6 < np.abs(short - full).max() < 1e-2


def test_fp32_against_itself_costs_nothing(measure):
    cost = measure("fp32")
    assert cost.overlap.share == 1.0
    assert cost.accuracy == cost.reference_accuracy


def test_report_of_an_export_states_the_cost(exported_as, measure):
    _, report = exported_as("bf16")
    cost = measure("bf16")
    assert report.endswith(
        f"pairwise accuracy on 13 test pairs: {cost.reference_accuracy:.4f} in fp32, "
        f"{cost.accuracy:.4f} in bf16\n"
        f"top-10 overlap of bf16 with fp32: {cost.overlap.share:.4f}, mean of 13 pairs with 13.0 "
        "products to rank on average\n"
    )


def test_report_of_fp32_has_nothing_to_say_of_a_cost(exported_as):
    _, report = exported_as("fp32")
    assert "overlap" not in report
    assert "cost" not in report


def test_report_says_when_the_cost_was_not_measured_and_what_would(small_showroom_model, tmp_path):
    options = ("--model", small_showroom_model, "--model-repository", tmp_path)
    result = CliRunner().invoke(app, ["export", *map(str, options), "--precision", "bf16"])
    assert result.exit_code == 0, result.output
    *_, last = result.stdout.splitlines()
    assert last.startswith("cost against fp32: not measured; --data DIR")


def test_unreadable_data_leaves_the_repository_as_it_was(small_showroom_model, tmp_path):
    options = ("--model", small_showroom_model, "--model-repository", tmp_path / "repository")
    arguments = ("export", *options, "--precision", "bf16", "--data", tmp_path / "nowhere")
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert isinstance(result.exception, DataError)
    assert "nowhere" in str(result.exception)
    assert not (tmp_path / "repository").exists()


def test_a_part_of_the_data_is_a_wrong_usage(tmp_path):
    arguments = ("export", "--model", "m", "--precision", "bf16", "--pairs", tmp_path)
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exit_code == 2
    assert "--data DIR" in result.output


def split_of(products):
    """Three pairs of one category, as far as an overlap needs them."""
    return SimpleNamespace(categories=np.zeros(3, np.int64), candidates={0: np.arange(products)})


def slow_overlap(split, first, second):
    """The mean share of ten nearest products in common, by insertion into two lists."""
    shares = []
    for index in range(len(split.categories)):
        tops = []
        for distances in (first, second):
            nearest = []
            for row in split.candidates[int(split.categories[index])]:
                distance = float(distances(index, np.array([row]))[0])
                place = 0
                while place < len(nearest) and nearest[place][0] <= distance:
                    place += 1
                nearest.insert(place, (distance, row))
            tops.append([row for _, row in nearest[:10]])
        shares.append(len([row for row in tops[0] if row in tops[1]]) / 10)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("levels", [3, 1000], ids=["ties", "no ties"])
def test_overlap_is_that_of_two_lists_of_ten(levels):
    split = split_of(40)
    tables = np.random.default_rng(0).integers(0, levels, (2, 3, 40)).astype(np.float32)
    first, second = (lambda index, rows, table=table: table[index, rows] for table in tables)
    found = top_overlap(split, first, second)
    assert 0 < found.share < 1
    assert found.share == pytest.approx(slow_overlap(split, first, second))
    assert (found.pairs, found.candidates) == (3, 40.0)


OPPOSITE: Any = (lambda _, rows: rows, lambda _, rows: -rows)


def test_opposite_rankers_share_what_ten_of_fourteen_must():
    found = top_overlap(split_of(14), *OPPOSITE)
    assert found.share == pytest.approx(0.6)


def test_overlap_is_not_defined_where_every_product_is_in_the_top_ten():
    assert top_overlap(split_of(TOP), *OPPOSITE) is None
    cost = PrecisionCost("bf16", 3, 0.5, 0.5, None)
    assert cost.as_text().endswith("not defined, no pair has more than 10 products to rank")
