"""From a shop's photos in one command: the self-test, what it calibrates, and the page."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from completelook_build import shop as shop_module
from completelook_build.cli import app, main
from completelook_build.data import Counts, DataDescription, Dataset
from completelook_build.evaluation import (
    Estimate,
    Evaluation,
    Figures,
    Outcomes,
    fit_calibration,
    read_calibration,
)
from completelook_build.evaluation.contenders import Ranked
from completelook_build.evaluation.material import _material, split_by_fold
from completelook_build.heads import PairScore
from completelook_build.report import counted, in_100
from completelook_build.shop import self_test as self_test_module
from completelook_build.shop.page import category_rows, pick_examples, verdict_on
from completelook_build.shop.self_test import Fold, SelfTest, calibrate_by_folds, run_self_test
from completelook_build.showroom import render_showroom
from completelook_build.training import SmallDataConfig, TrainingConfig, load_model
from planted import CATEGORIES, plant_pairs
from typer.testing import CliRunner

FOLDS = 3


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    features = plant_pairs(tmp_path_factory.mktemp("planted"))
    return [
        _material(split_by_fold(features, fold, FOLDS), lambda: None, lambda: None, 7)
        for fold in range(3)
    ]


class Oracle:
    """Learns to be right for every pair but those of some scenes; keeps what it is given."""

    def __init__(self, wrong=()):
        self.wrong = wrong
        self.materials = []

    def learn(self, material, _):
        self.materials.append(material)
        return Ranked(partial(self.distances, material.test))

    def distances(self, split, index, rows):
        is_other = (rows != split.product_rows[index]).astype(np.float32)
        return 1 - is_other if split.pairs[index].scene in self.wrong else is_other


@pytest.fixture
def oracle(materials):
    return Oracle(wrong={materials[0].test.pairs[0].scene})


@pytest.fixture
def tested(materials, oracle, monkeypatch):
    monkeypatch.setattr(self_test_module, "read_materials", lambda *_: materials)
    monkeypatch.setattr(self_test_module, "learn_by_recipe", oracle.learn)
    return run_self_test(Dataset.of(Path()), "", FOLDS, TrainingConfig())


def test_every_pair_is_tested_once_and_by_a_model_that_never_saw_its_scene(tested, oracle):
    pairs = [pair for fold in tested.folds for pair in fold.split.pairs]
    everything = oracle.materials[0].data.pairs
    assert len(pairs) == len(everything)
    assert set(pairs) == set(everything)
    for fold, material in zip(tested.folds, oracle.materials, strict=True):
        own = {pair.scene for pair in fold.split.pairs}
        seen = {
            pair.scene for split in (material.train, material.validation) for pair in split.pairs
        }
        assert own
        assert not own & seen


def test_the_figures_are_those_of_all_folds_and_beyond_what_looks_alike(tested, oracle):
    pairs = [pair for fold in tested.folds for pair in fold.split.pairs]
    right = np.mean([pair.scene not in oracle.wrong for pair in pairs])
    accuracy = tested.evaluation.overall.metrics["pairwise_accuracy"].value
    assert accuracy == pytest.approx(right)
    assert tested.gain.value == pytest.approx(right - tested.lookalike)
    assert tested.as_json()["folds"] == FOLDS
    json.dumps(tested.as_json(), allow_nan=False)


def fold_of(positive, negative, count=40):
    """A fold whose true products all lie at one distance and the others at another."""
    scores = [
        PairScore(f"s{row}", 0, positive, np.array([negative], np.float32)) for row in range(count)
    ]

    features = SimpleNamespace(data=SimpleNamespace(sha256="0" * 64))
    split: Any = SimpleNamespace(features=features)
    return Fold(split, lambda _, rows: np.zeros(len(rows), np.float32), scores)


def self_test_of(*folds):
    return SelfTest(folds, None, 0.5, Estimate(0, 0, 0))


def test_a_calibration_is_judged_on_folds_that_it_was_not_fitted_on(tmp_path):
    alike = calibrate_by_folds(tmp_path, 7, self_test_of(fold_of(0.5, 1.5), fold_of(0.5, 1.5)))
    assert alike.error < 0.05
    # What the one fold says of the other is the wrong way around.
    turned = calibrate_by_folds(tmp_path, 7, self_test_of(fold_of(0.5, 1.5), fold_of(1.5, 0.5)))
    assert turned.error > 0.4


def test_the_calibration_is_fitted_on_all_folds_and_kept_with_the_model(tmp_path):
    test = self_test_of(fold_of(0.5, 1.5), fold_of(0.6, 1.4))
    trust = calibrate_by_folds(tmp_path, 7, test)
    scores = [score for fold in test.folds for score in fold.scores]
    assert trust.calibration == fit_calibration(Outcomes.of(scores))
    assert read_calibration(tmp_path, 7) == trust.calibration
    assert (tmp_path / "calibration.png").exists()
    content = json.loads((tmp_path / "calibration.json").read_text())
    assert content["pairs"] == {"test": 80}


def test_a_threshold_keeps_what_is_compatible_enough(tmp_path):
    trust = calibrate_by_folds(tmp_path, 7, self_test_of(*[fold_of(0.5, 1.5)] * 3))
    for each in trust.thresholds:
        assert (each.kept, each.let_through, each.shown_anyway) == (1.0, 0.0, 0.0)
    mixed = [fold_of(0.5, 0.5), fold_of(0.5, 0.5)]
    trust = calibrate_by_folds(tmp_path, 7, self_test_of(*mixed))
    for each in trust.thresholds:
        both = float(each.compatibility <= 0.5)
        assert (each.kept, each.let_through, each.shown_anyway) == (both, both, both)


def test_something_shows_where_any_other_product_is_compatible_enough(tmp_path):
    folds = [fold_of(0.5, 1.5) for _ in range(3)]
    scores = list(folds[0].scores)
    for row in range(10):
        scores[row] = replace(scores[row], negatives=np.array([1.5] * 9 + [0.5], np.float32))
    folds[0] = replace(folds[0], scores=scores)
    trust = calibrate_by_folds(tmp_path, 7, self_test_of(*folds))
    assert trust.thresholds[2].shown_anyway == pytest.approx(10 / 120)
    assert trust.thresholds[2].let_through == pytest.approx(1 / 120)


def figures(low, high, scenes=50):
    metrics = {"pairwise_accuracy": Estimate((low + high) / 2, low, high)}
    return Figures(scenes, scenes, 10.0, 0, metrics)


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        pytest.param(figures(0.55, 0.65), "knows", id="above chance"),
        pytest.param(figures(0.55, 0.95), "knows", id="wide, but above chance"),
        pytest.param(figures(0.9, 1.0, scenes=9), "too few", id="few photos"),
        pytest.param(figures(0.42, 0.58), "guesses", id="narrow around chance"),
        pytest.param(figures(0.35, 0.75), "too few", id="wide around chance"),
        pytest.param(figures(np.nan, np.nan, scenes=1), "too few", id="one photo"),
        pytest.param(None, "untested", id="not tested"),
    ],
)
def test_a_category_is_trusted_where_its_interval_lies_above_chance(measured, verdict):
    assert verdict_on(measured) == verdict


def test_a_category_of_few_photos_has_no_interval():
    counts = Counts(7, 5, 7)
    described = DataDescription({}, {"Towels": counts, "Rugs": counts, "Toys": counts}, {}, {})
    few, enough = figures(1.0, 1.0, scenes=7), figures(0.55, 0.65)
    evaluation = Evaluation(enough, {"Towels": few, "Rugs": enough}, None, 0, 1000)
    towels, rugs, toys = category_rows(described, evaluation)
    assert towels.accuracy.value == 1.0
    assert np.isnan([towels.accuracy.low, towels.accuracy.high]).all()
    assert rugs.accuracy == enough.metrics["pairwise_accuracy"]
    assert (toys.accuracy, toys.verdict) == (None, "untested")


def test_examples_are_the_best_and_the_worst_no_scene_or_category_twice(tested, oracle):
    best = pick_examples(tested.folds, CATEGORIES, best=True)
    worst = pick_examples(tested.folds, CATEGORIES, best=False)
    assert [example.true.rank for example in best] == [1, 1]
    assert {example.category for example in best} == set(CATEGORIES)
    assert worst[0].scene in oracle.wrong
    assert worst[0].true.rank == worst[0].candidates
    assert len({example.scene for example in worst}) == len(worst)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.657, "66"), (0, "0"), (0.002, "fewer than 1"), (0.998, "more than 99"), (1, "100")],
)
def test_a_share_is_told_as_how_many_of_100(share, words):
    assert in_100(share) == words


def test_what_is_counted_has_its_plural():
    assert [counted(n, "category") for n in (1, 2)] == ["1 category", "2 categories"]
    assert counted(1997, "pair") == "1,997 pairs"


def test_few_photos_are_learned_by_the_recipe_for_them(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(shop_module, "learn_from_photos", lambda *_, **given: asked.append(given))
    options = ["learn", "--data", str(tmp_path), "--out", str(tmp_path / "model")]
    assert CliRunner().invoke(app, options).exit_code == 0
    assert CliRunner().invoke(app, [*options, "--recipe", "paper", "--epochs", "3"]).exit_code == 0
    assert [given["recipe"] for given in asked] == [SmallDataConfig(), TrainingConfig(epochs=3)]
    assert CliRunner().invoke(app, [*options, "--recipe", "magic"]).exit_code == 2
    assert len(asked) == 2


@pytest.mark.slow
def test_one_command_leaves_a_model_to_serve_and_a_page_on_its_worth(tmp_path, monkeypatch, capsys):
    photos, out = tmp_path / "photos", tmp_path / "model"
    render_showroom(photos, scenes=20, products_per_category=10, seed=0)
    options = (
        "--data",
        photos,
        "--out",
        out,
        "--backbone",
        "efficientnet-lite0",
        "--folds",
        2,
        "--epochs",
        1,
    )
    monkeypatch.setattr("sys.argv", ["completelook-build", "learn", *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")
    assert (out / "model_repository/backbone/1/model.pt").exists()
    config = (out / "model_repository/embed_scene/config.pbtxt").read_text()
    assert 'key: "calibration"' in config
    assert read_calibration(out, load_model(out).heads_id) is not None

    figures = json.loads((out / "self-test.json").read_text())
    page = (out / "report.html").read_text()
    accuracy = figures["overall"]["pairwise_accuracy"]["value"]
    assert f"{in_100(accuracy)} in 100" in page
    for name in figures["categories"]:
        assert f"{name.rpartition('|')[2]}\n" in page
    images = re.findall(r"<img[^>]*>", page)
    assert len(images) > 12
    assert all(re.search(r'alt="[^"]+"', image) for image in images)
    assert not re.findall(r"https?://|url\(|<link|<script", page)
