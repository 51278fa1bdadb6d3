"""The table: what its rows hold, and what a second run uses again."""

import json
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from completelook.errors import UsageError
from completelook_build.data import SPLITS, Dataset
from completelook_build.errors import DataError
from completelook_build.evaluation import comparison as comparison_module
from completelook_build.evaluation import comparison_as_markdown, print_comparison, write_comparison
from completelook_build.evaluation import material as material_module
from completelook_build.evaluation.comparison import Comparison, compare
from completelook_build.evaluation.contenders import CONTENDERS, Contender, Ranked
from completelook_build.evaluation.material import Material, read_materials, split_by_fold
from completelook_build.features import make_split
from completelook_build.training import SmallDataConfig, TrainingConfig
from planted import CATEGORIES, plant_pairs


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    features = plant_pairs(tmp_path_factory.mktemp("pairs"))
    names = ("train", "validation", "test")
    train, validation, test = (make_split(features, name, CATEGORIES) for name in names)
    splits = (train, validation, test)
    return Material(features.data, 7, *splits, lambda: splits[:2], lambda: splits)


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


def test_every_contender_has_its_row(material, comparison, tmp_path, capsys, monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class OneEpoch(SmallDataConfig):
        epochs: int = 1

    monkeypatch.setattr("completelook_build.evaluation.contenders.SmallDataConfig", OneEpoch)
    comparison = replace(comparison, seeds=1)
    table = compare(comparison, [material], tmp_path / "out")
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
    table = compare(comparison, [material], tmp_path, [Counted().contender])
    (row,) = table["rows"]
    assert row["seed_accuracies"] == (1.0, 0.0)
    assert row["estimates"]["pairwise_accuracy"]["value"] == pytest.approx(0.5)
    # Both seeds of a pair are resampled together: their mean never moves.
    assert row["estimates"]["pairwise_accuracy"]["low"] == pytest.approx(0.5)
    assert row["roc_auc"] == pytest.approx(0.5)
    assert row["choices"] == ("choice of 0", "choice of 1")


def test_what_has_no_seed_is_measured_once(material, comparison, tmp_path):
    counted = Counted(is_seeded=False)
    compare(comparison, [material], tmp_path, [counted.contender])
    assert counted.seeds == [0]


def test_a_second_run_uses_what_is_there(material, comparison, tmp_path):
    first = compare(comparison, [material], tmp_path, [Counted().contender])
    again = Counted()
    assert compare(comparison, [material], tmp_path, [again.contender]) == first
    assert again.seeds == []
    compare(replace(comparison, seeds=3), [material], tmp_path, [again.contender])
    assert again.seeds == [2]


def test_a_kill_costs_no_more_than_the_row_at_work(material, comparison, tmp_path):
    def killed(*_):
        raise KeyboardInterrupt

    first, fatal = Counted("first"), Contender("fatal", "Fatal", "a note.", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(comparison, [material], tmp_path, [first.contender, fatal])
    second = Counted("fatal")
    compare(comparison, [material], tmp_path, [first.contender, second.contender])
    assert first.seeds == second.seeds == [0, 1]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"backbone_id": 8}, id="backbone"),
        pytest.param({"data": {"sha256": "other"}}, id="data"),
        pytest.param({"data": {"splits": "moved"}}, id="splits"),
        pytest.param({"training": TrainingConfig(epochs=2)}, id="budget"),
        pytest.param({"code": "another"}, id="code"),
        pytest.param({"picture": 0}, id="a picture"),
    ],
)
def test_figures_of_another_setting_are_not_used(
    change, material, comparison, tmp_path, monkeypatch
):
    compare(comparison, [material], tmp_path, [Counted().contender])
    if "training" in change:
        comparison = replace(comparison, **change)
    elif "code" in change:
        monkeypatch.setattr(comparison_module, "code_digest", lambda *_: change["code"])
    elif "picture" in change:
        monkeypatch.setattr(
            type(material.test.features.products),
            "pooled",
            lambda self, rows: self._pooled[rows] + 1,
        )
        material = replace(material)
    elif "backbone_id" in change:
        material = replace(material, **change)
    elif "sha256" in change["data"]:
        material = replace(material, data=replace(material.data, **change["data"]))
    else:
        splits = material.data.splits
        moved = {**splits, "train": splits["train"] | {"another"}}
        material = replace(material, data=replace(material.data, splits=moved))
    again = Counted()
    compare(comparison, [material], tmp_path, [again.contender])
    assert again.seeds == [0, 1]


def test_a_figure_that_no_pair_defines_is_null_and_a_dash(material, comparison, tmp_path):
    scarce = {category: rows[:3] for category, rows in material.test.candidates.items()}
    material = replace(material, test=replace(material.test, candidates=scarce))
    write_comparison(compare(comparison, [material], tmp_path, [Counted().contender]), tmp_path)
    stored = json.loads((tmp_path / "table.json").read_text(), parse_constant=pytest.fail)
    assert stored["rows"][0]["estimates"]["fill_in_the_blank"]["value"] is None
    assert "| - |" in comparison_as_markdown(stored)


def in_folds(material, folds):
    """The material of each fold."""
    materials = []
    for fold in range(folds):
        features = split_by_fold(material.train.features, fold, folds)
        train, validation, test = (make_split(features, name, CATEGORIES) for name in SPLITS)
        whole = partial(lambda *pair: pair, train, validation)
        splits = (train, validation, test)
        viewed = partial(lambda *three: three, *splits)
        materials.append(Material(features.data, 7, *splits, whole, viewed))
    return materials


def test_every_scene_is_tested_once_and_never_learned_from_in_its_fold(material):
    folds = in_folds(material, 5)
    tested = [scene for fold in folds for scene in fold.data.splits["test"]]
    assert sorted(tested) == sorted({pair.scene for pair in material.data.pairs})
    for fold in folds:
        parts = [fold.data.splits[name] for name in SPLITS]
        assert all(parts)
        assert len(frozenset().union(*parts)) == sum(map(len, parts)) == 60


def test_the_fold_of_a_scene_follows_from_its_id_alone(material):
    features = material.train.features
    fewer = replace(features, data=replace(features.data, pairs=features.data.pairs[::2]))
    for fold in range(5):
        all_scenes = split_by_fold(features, fold, 5).data.splits
        some_scenes = split_by_fold(fewer, fold, 5).data.splits
        assert some_scenes["test"] <= all_scenes["test"]


def test_in_a_fold_only_products_of_its_own_scenes_are_ranked(material):
    for fold in in_folds(material, 5):
        product_row = fold.test.features.product_row
        own = {product_row[pair.product] for pair in fold.data.split("test")}
        assert {row for rows in fold.test.candidates.values() for row in rows.tolist()} == own


def test_folds_are_pooled_and_each_seed_learns_every_fold(material, comparison, tmp_path):
    folds, counted = in_folds(material, 3), Counted()
    table = compare(replace(comparison, folds=3), folds, tmp_path, [counted.contender])
    assert counted.seeds == [0, 0, 0, 1, 1, 1]
    (row,) = table["rows"]
    assert row["seed_accuracies"] == (1.0, 0.0)
    assert table["data"]["scenes"]["test"] == 60
    assert table["data"]["pairs"]["test"] == sum(len(fold.test) for fold in folds)
    assert "3 folds by scene; " in comparison_as_markdown(table)
    assert (
        "Most often chosen on validation scenes: choice of 0 (3 of 6 models)"
        in comparison_as_markdown(table)
    )


def test_a_kill_costs_no_more_than_the_fold_at_work(material, comparison, tmp_path):
    folds, counted = in_folds(material, 3), Counted(is_seeded=False)
    compare(comparison, folds[:2], tmp_path, [counted.contender])
    again = Counted(is_seeded=False)
    compare(comparison, folds, tmp_path, [again.contender])
    assert again.seeds == [0]


def test_rows_can_be_chosen_and_keep_the_tables_order(comparison):
    chosen = replace(comparison, rows=("ctl", "chance")).contenders
    assert [contender.name for contender in chosen] == ["chance", "ctl"]
    assert [contender.name for contender in comparison.contenders][-1] == "small_data_global"
    with pytest.raises(UsageError, match="no row 'mine': expected one of chance, popularity"):
        _ = replace(comparison, rows=("mine",)).contenders


def test_rows_are_held_against_similarity_and_the_papers_form(material, comparison, tmp_path):
    right, wrong, other = Counted("raw", is_seeded=False), Counted("ctl"), Counted("other")
    contenders = [each.contender for each in (right, wrong, other)]
    table = compare(comparison, [material], tmp_path, contenders)
    differences = {row["name"]: row["differences"] for row in table["rows"]}
    assert set(differences["raw"]) == {"ctl"}
    assert differences["raw"]["ctl"]["value"] == pytest.approx(0.5)
    assert differences["other"]["raw"]["value"] == pytest.approx(-0.5)
    assert differences["other"]["ctl"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    header, _, _, _, last = comparison_as_markdown(table).splitlines()[2:7]
    assert header.endswith("| accuracy beyond Raw | accuracy beyond Ctl |")
    assert last.endswith("| -0.500 [-0.500, -0.500] | +0.000 [+0.000, +0.000] |")


@pytest.fixture
def planted(tmp_path, monkeypatch, untrained):
    """A data set whose features are made up; what was read of them is kept."""
    (tmp_path / "data").mkdir()
    features = plant_pairs(tmp_path / "data")
    asked = []

    def read_features(data, _backbone, _cache, splits, views=None):
        asked.append(splits if views is None else views)
        return replace(features, data=data)

    monkeypatch.setattr(material_module, "prepare_backbone", lambda *_: untrained.network)
    monkeypatch.setattr(material_module, "read_features", read_features)
    return Dataset.of(tmp_path / "data"), asked


def test_too_many_folds_are_an_error_that_says_so(planted):
    with pytest.raises(DataError, match=r"fold \d+ of 50: .*; take fewer folds"):
        read_materials(planted[0], "random:0", 50)


def test_the_folds_of_a_data_set_share_its_backbone_and_features(planted):
    dataset, asked = planted
    folds = read_materials(dataset, "random:0", 3)
    assert len({fold.backbone_id for fold in folds}) == 1
    assert len({fold.sha256 for fold in folds}) == 3
    for fold in folds:
        whole = fold.read_uncropped()
        assert [split.features.data.splits for split in whole] == [fold.data.splits] * 2
        taught, validation, test = fold.read_for_small_data()
        assert len(taught) == len(fold.train) + len(validation)
        assert test.pairs == fold.test.pairs
    # Cropped once, whole once, in views once.
    assert asked == [SPLITS, SPLITS, SmallDataConfig().views]


def test_without_folds_the_datas_own_split_is_tested(planted):
    (material,) = read_materials(planted[0], "random:0", None)
    assert material.data.splits == planted[0].read().splits
