"""The table: what its rows hold, and what a second run uses again."""

import json
from dataclasses import replace

import numpy as np
import pytest
from completelook_build.data import Dataset
from completelook_build.evaluation import comparison as comparison_module
from completelook_build.evaluation.comparison import Comparison, compare
from completelook_build.evaluation.contenders import CONTENDERS, Contender, Material, Ranked
from completelook_build.evaluation.table import as_markdown, print_comparison, write_comparison
from completelook_build.features import make_split
from completelook_build.training import TrainingConfig
from planted import CATEGORIES, plant_pairs


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    features = plant_pairs(tmp_path_factory.mktemp("pairs"))
    names = ("train", "validation", "test")
    train, validation, test = (make_split(features, name, CATEGORIES) for name in names)
    return Material(features.data, 7, train, validation, test, lambda: (train, validation))


@pytest.fixture
def comparison(tmp_path):
    nowhere = Dataset.of(tmp_path / "nowhere")
    return Comparison(dataset=nowhere, seeds=2, training=TrainingConfig(epochs=1))


class Counted:
    """A contender right for every pair with seed 0 and wrong with the others; counts its calls."""

    def __init__(self, name="counted", *, is_seeded=True):
        self.seeds = []
        self.contender = Contender(name, name.title(), "a note.", self.learn, is_seeded)

    def learn(self, material, config):
        self.seeds.append(config.seed)
        test, sign = material.test, 1 if config.seed == 0 else -1

        def distances(index, rows):
            return sign * (rows != test.product_rows[index]).astype(np.float32)

        return Ranked(distances, f"choice of {config.seed}")


def test_every_contender_has_its_row(material, comparison, tmp_path, capsys):
    comparison = replace(comparison, seeds=1)
    table = compare(comparison, material, tmp_path / "out")
    write_comparison(table, tmp_path / "out")
    assert [row["name"] for row in table["rows"]] == [c.name for c in CONTENDERS]
    assert json.loads((tmp_path / "out/table.json").read_text()) == json.loads(json.dumps(table))
    markdown = (tmp_path / "out/table.md").read_text()
    print_comparison(table)
    printed = capsys.readouterr().out
    for contender in CONTENDERS:
        assert f"| {contender.title} |" in markdown
        assert f"- **{contender.title}**: {contender.note}" in markdown
        assert contender.title.split(",")[0] in printed
    accuracies = {row["name"]: row["seed_accuracies"][0] for row in table["rows"]}
    assert accuracies["bpr_dae"] > accuracies["raw"]


def test_figures_are_means_over_seeds(material, comparison, tmp_path):
    table = compare(comparison, material, tmp_path, [Counted().contender])
    (row,) = table["rows"]
    assert row["seed_accuracies"] == (1.0, 0.0)
    assert row["estimates"]["pairwise_accuracy"]["value"] == pytest.approx(0.5)
    # Both seeds of a pair are resampled together: their mean never moves.
    assert row["estimates"]["pairwise_accuracy"]["low"] == pytest.approx(0.5)
    assert row["roc_auc"] == pytest.approx(0.5)
    assert row["choices"] == ("choice of 0", "choice of 1")


def test_what_has_no_seed_is_measured_once(material, comparison, tmp_path):
    counted = Counted(is_seeded=False)
    compare(comparison, material, tmp_path, [counted.contender])
    assert counted.seeds == [0]


def test_a_second_run_uses_what_is_there(material, comparison, tmp_path):
    first = compare(comparison, material, tmp_path, [Counted().contender])
    again = Counted()
    assert compare(comparison, material, tmp_path, [again.contender]) == first
    assert again.seeds == []
    compare(replace(comparison, seeds=3), material, tmp_path, [again.contender])
    assert again.seeds == [2]


def test_a_kill_costs_no_more_than_the_row_at_work(material, comparison, tmp_path):
    def killed(*_):
        raise KeyboardInterrupt

    first, fatal = Counted("first"), Contender("fatal", "Fatal", "a note.", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(comparison, material, tmp_path, [first.contender, fatal])
    second = Counted("fatal")
    compare(comparison, material, tmp_path, [first.contender, second.contender])
    assert first.seeds == second.seeds == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"backbone_id": 8}, id="backbone"),
        pytest.param({"data": {"sha256": "other"}}, id="data"),
        pytest.param({"data": {"splits": "moved"}}, id="splits"),
        pytest.param({"training": TrainingConfig(epochs=2)}, id="budget"),
        pytest.param({"code": "another"}, id="code"),
    ],
)
def test_figures_of_another_setting_are_not_used(
    change, material, comparison, tmp_path, monkeypatch
):
    compare(comparison, material, tmp_path, [Counted().contender])
    if "training" in change:
        comparison = replace(comparison, **change)
    elif "code" in change:
        monkeypatch.setattr(comparison_module, "code_digest", lambda _: change["code"])
    elif "backbone_id" in change:
        material = replace(material, **change)
    elif "sha256" in change["data"]:
        material = replace(material, data=replace(material.data, **change["data"]))
    else:
        splits = material.data.splits
        moved = {**splits, "train": splits["train"] | {"another"}}
        material = replace(material, data=replace(material.data, splits=moved))
    again = Counted()
    compare(comparison, material, tmp_path, [again.contender])
    assert again.seeds == [0, 1]


def test_a_figure_that_no_pair_defines_is_null_and_a_dash(material, comparison, tmp_path):
    scarce = {category: rows[:3] for category, rows in material.test.candidates.items()}
    material = replace(material, test=replace(material.test, candidates=scarce))
    write_comparison(compare(comparison, material, tmp_path, [Counted().contender]), tmp_path)
    stored = json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)
    assert stored["rows"][0]["estimates"]["fill_in_the_blank"]["value"] is None
    assert "| - |" in as_markdown(stored)
