"""From distance to probability: the fit, its error, its file, and its way into the repository."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from completelook import CompleteLook
from completelook.contract import ENSEMBLES
from completelook.ranking import Calibration
from completelook_build.data import Dataset
from completelook_build.errors import ModelError
from completelook_build.evaluation import calibration as calibration_module
from completelook_build.evaluation.calibration import (
    calibrate_model,
    fit_calibration,
    read_calibration,
)
from completelook_build.evaluation.reliability import (
    Outcomes,
    expected_calibration_error,
    reliability,
)
from completelook_build.export import repository_configs
from completelook_build.heads import HeadsConfig, PairScore
from fakes import CALIBRATION
from google.protobuf import text_format
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig

KNOTS = Calibration((0.5, 1.0, 2.0), (0.9, 0.6, 0.1))


def scores(seed: int, pairs: int) -> list[PairScore]:
    """Pairs with 1 to 9 negatives, normally distributed around distances of 1.5 and 2."""
    random = np.random.default_rng(seed)
    return [
        PairScore(
            f"s{index}",
            0,
            float(random.normal(1.5, 0.25)),
            random.normal(2.0, 0.25, random.integers(1, 10)).astype(np.float32),
        )
        for index in range(pairs)
    ]


@pytest.mark.parametrize(
    ("distance", "compatibility"),
    [(0.0, 0.9), (0.5, 0.9), (0.75, 0.75), (1.0, 0.6), (1.5, 0.35), (2.0, 0.1), (4.0, 0.1)],
)
def test_the_map_is_straight_between_knots_and_level_beyond(distance, compatibility):
    assert KNOTS.compatibility(np.array([distance])) == pytest.approx([compatibility])


def test_a_calibration_survives_json():
    assert Calibration.from_json(KNOTS.as_json()) == KNOTS


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("null", id="no object"),
        pytest.param('{"distances": [1]}', id="no compatibilities"),
        pytest.param('{"distances": [], "compatibilities": []}', id="no knot"),
        pytest.param('{"distances": [1, 2], "compatibilities": [0.5]}', id="one short"),
        pytest.param('{"distances": [1, 1], "compatibilities": [0.5, 0.4]}', id="level distance"),
        pytest.param('{"distances": [NaN], "compatibilities": [0.5]}', id="NaN distance"),
        pytest.param('{"distances": [1, Infinity], "compatibilities": [1, 0]}', id="infinite"),
        pytest.param('{"distances": [1], "compatibilities": [NaN]}', id="NaN compatibility"),
        pytest.param('{"distances": [1], "compatibilities": [1.1]}', id="over 1"),
        pytest.param('{"distances": [1, 2], "compatibilities": [0.4, 0.5]}', id="rising"),
        pytest.param('{"distances": [null], "compatibilities": [0.5]}', id="no number"),
        pytest.param('{"distances": ["near"], "compatibilities": [0.5]}', id="a word"),
    ],
)
def test_what_makes_no_falling_map_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        Calibration.from_json(text)


def test_a_true_product_weighs_as_much_as_all_its_negatives():
    outcomes = Outcomes.of(scores(0, 20))
    assert outcomes.weights[outcomes.is_true].tolist() == [1.0] * 20
    assert outcomes.weights[~outcomes.is_true].sum() == pytest.approx(20)
    assert outcomes.is_true.sum() == 20


def pool_by_loops(outcomes):
    """Pool-adjacent-violators and the blocks' centers, one outcome at a time."""
    pairs = sum(outcomes.is_true)
    blocks = []  # [weight, sum of targets, sum of distances]
    for distance, is_true, weight in sorted(
        zip(outcomes.distances, outcomes.is_true, outcomes.weights, strict=True)
    ):
        target = ((pairs + 1) if is_true else 1) / (pairs + 2)
        blocks.append([weight, weight * target, weight * distance])
        while len(blocks) > 1 and (
            blocks[-2][1] / blocks[-2][0] <= blocks[-1][1] / blocks[-1][0] + 1e-12
        ):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return [d / w for w, _, d in blocks], [t / w for w, t, _ in blocks]


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_isotonic_regression_through_the_blocks_centers(seed):
    outcomes = Outcomes.of(scores(seed, 40))
    fitted = fit_calibration(outcomes)
    distances, compatibilities = pool_by_loops(outcomes)
    assert fitted.distances == pytest.approx(distances)
    assert fitted.compatibilities == pytest.approx(compatibilities)


def test_the_fit_recovers_the_probability_the_data_were_drawn_from():
    fitted = fit_calibration(Outcomes.of(scores(0, 4000)))
    distances = np.array([1.4, 1.6, 1.75, 1.9, 2.1])
    # Two normal distributions, equally likely: the odds are those of their densities.
    near, far = (np.exp(-((distances - mean) ** 2) / 2 / 0.25**2) for mean in (1.5, 2.0))
    assert fitted.compatibility(distances) == pytest.approx(near / (near + far), abs=0.06)


def test_no_product_is_quite_sure_or_impossible():
    apart = [PairScore("s", 0, 1.0 + n / 100, np.array([3.0, 3.5], np.float32)) for n in range(8)]
    fitted = fit_calibration(Outcomes.of(apart))
    assert fitted.compatibilities == pytest.approx((9 / 10, 1 / 10))


@pytest.mark.parametrize("farther", [0.0, 1.0], ids=["all equal", "true products farther"])
def test_a_model_that_knows_nothing_says_one_half(farther):
    alike = [PairScore("s", 0, 2.0 + farther, np.array([2.0, 2.0], np.float32)) for _ in range(5)]
    assert fit_calibration(Outcomes.of(alike)).compatibilities == pytest.approx((0.5,))


def error_by_loops(calibration, pairs, bins):
    """The expected calibration error, each outcome put into its bin by hand."""
    held = [[] for _ in range(bins)]
    for score in pairs:
        outcomes = [(score.positive, 1, 1.0)]
        outcomes += [(negative, 0, 1 / len(score.negatives)) for negative in score.negatives]
        for distance, is_true, weight in outcomes:
            value = float(calibration.compatibility(np.float64(distance)))
            place = max(k for k in range(bins) if value >= k / bins)
            held[place].append((value, is_true, weight))
    error = 0.0
    for outcomes in held:
        difference = sum(weight * (is_true - value) for value, is_true, weight in outcomes)
        error += abs(difference) / (2 * len(pairs))
    return error


@pytest.mark.parametrize("seed", range(3))
def test_the_expected_calibration_error_is_the_one_by_loops(seed):
    fitted, unseen = fit_calibration(Outcomes.of(scores(seed, 60))), scores(seed + 100, 50)
    for calibration in (fitted, KNOTS, Calibration((1.0, 2.0), (1.0, 0.0))):
        error = expected_calibration_error(reliability(calibration, Outcomes.of(unseen)))
        assert error == pytest.approx(error_by_loops(calibration, unseen, 10))


def test_bins_hold_every_outcome_once():
    bins = reliability(Calibration((1.0, 2.0), (1.0, 0.0)), Outcomes.of(scores(0, 200)))
    assert sum(each.weight for each in bins) == pytest.approx(1)
    assert len(bins) == 10


@pytest.fixture
def data(small_showroom):
    """What `calibrate_model` wants beside the model's folder."""
    return Dataset.of(small_showroom)


@pytest.fixture
def folder(small_showroom_model, tmp_path):
    return Path(shutil.copytree(small_showroom_model, tmp_path / "model"))


def card_id(folder: Path) -> int:
    return int(json.loads((folder / "model.json").read_text())["card"]["heads_id"], 16)


def test_a_model_folder_keeps_its_calibration(folder, data):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert read_calibration(folder, card_id(folder)) is None
    report = calibrate_model(folder, data)
    assert read_calibration(folder, card_id(folder)) == report.calibration
    content = json.loads((folder / "calibration.json").read_text())
    assert content["pairs"] == report.pairs
    assert content["expected_calibration_error"] == {"bins": 10, **report.errors}
    with Image.open(folder / "calibration.png") as picture:
        assert picture.width > picture.height > 0
    assert {path.name for path in folder.iterdir()} == {
        *before,
        "calibration.json",
        "calibration.png",
    }
    assert all((folder / name).read_bytes() == content for name, content in before.items())


def test_the_report_names_both_splits_the_bins_and_the_prior(folder, data):
    report = calibrate_model(folder, data)
    text = report.as_text()
    assert "10 bins" in text
    assert f"{report.errors['test']:.3f} on {report.pairs['test']} unseen test pairs" in text
    assert f"{report.errors['validation']:.3f} on the {report.pairs['validation']} vali" in text
    assert "one true product against one random product of its category" in text


def test_a_failed_calibration_leaves_the_earlier_one_whole(folder, data, monkeypatch):
    (folder / "calibration.json").write_text("earlier")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(calibration_module, "draw_reliability", fail)
    with pytest.raises(ModelError, match="no space left"):
        calibrate_model(folder, data)
    assert (folder / "calibration.json").read_text() == "earlier"
    assert not list(folder.glob(".partial-*"))


def test_the_calibration_of_an_earlier_model_is_announced_and_not_used(tmp_path, capsys):
    (tmp_path / "calibration.json").write_text(
        json.dumps({"heads_id": f"{7:016x}", **json.loads(KNOTS.as_json())})
    )
    assert read_calibration(tmp_path, 7) == KNOTS
    assert capsys.readouterr().err == ""
    assert read_calibration(tmp_path, 8) is None
    assert "completelook-build calibrate" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[]", '{"heads_id": "7"}', '{"distances": [1]}'])
def test_a_broken_calibration_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(ModelError, match=r"calibration\.json.*completelook-build calibrate"):
        read_calibration(tmp_path, 7)


def test_only_the_ensembles_carry_the_calibration_beside_the_categories():
    heads = HeadsConfig(categories=("Rugs",))
    plain, calibrated = repository_configs(heads), repository_configs(heads, KNOTS)
    for name, text in calibrated.items():
        config = text_format.Parse(text, ModelConfig())
        expected = text_format.Parse(plain[name], ModelConfig())
        if name in {ensemble.name for ensemble in ENSEMBLES}:
            assert Calibration.from_json(config.parameters["calibration"].string_value) == KNOTS
            assert "calibration" not in expected.parameters
            del config.parameters["calibration"]
        assert config == expected


def test_a_real_server_hands_the_calibration_over(server):
    with CompleteLook(server.grpc_address) as look:
        assert look.calibration() == Calibration.from_json(CALIBRATION)
