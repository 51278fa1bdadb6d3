"""A model is not judged on what it was trained on, unless that is asked for."""

import json
import shutil

import pytest
from completelook_build.attention.report import study_model
from completelook_build.data import Dataset
from completelook_build.errors import DataError
from completelook_build.evaluation.calibration import calibrate_model
from completelook_build.evaluation.evaluate import evaluate_model
from completelook_build.evaluation.sheet import make_sheet
from completelook_build.training import load_model, read_held_out

JUDGES = {
    "evaluate": lambda model, data, _, **asked: evaluate_model(model, data, **asked),
    "calibrate": lambda model, data, _, **asked: calibrate_model(model, data, **asked),
    "attention": lambda model, data, out, **asked: study_model(model, data, out, scenes=1, **asked),
    "sheet": lambda model, data, out, **asked: make_sheet(model, data, out, scenes=1, **asked),
}


@pytest.fixture
def model_of(small_showroom_model, tmp_path):
    """A folder of the small model, said to be trained with some splits."""

    def record(splits):
        folder = tmp_path / "model"
        shutil.copytree(small_showroom_model, folder, dirs_exist_ok=True)
        content = json.loads((folder / "model.json").read_text())
        content["card"].pop("splits")
        content["card"] |= {} if splits is None else {"splits": splits}
        (folder / "model.json").write_text(json.dumps(content))
        return folder

    return record


def splits_of(folder):
    return json.loads((folder / "splits.json").read_text())


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
@pytest.mark.parametrize("trained_as", ["train", "validation"])
def test_scenes_that_were_trained_on_are_refused(
    judge, trained_as, small_showroom, model_of, tmp_path
):
    trained_on = {"train": [], "validation": [], "test": []}
    trained_on[trained_as] = splits_of(small_showroom)["test"]
    with pytest.raises(DataError, match=r"test scenes were trained on.*--trained-scenes"):
        judge(model_of(trained_on), Dataset.of(small_showroom), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_scenes_that_were_trained_on_are_taken_where_that_is_asked_for(
    judge, small_showroom, model_of, tmp_path
):
    trained_on = {"train": splits_of(small_showroom)["test"], "validation": [], "test": []}
    judge(model_of(trained_on), Dataset.of(small_showroom), tmp_path / "out", trained_scenes=True)


def test_a_model_that_does_not_tell_its_scenes_is_refused(small_showroom, model_of):
    with pytest.raises(DataError, match="does not tell which scenes"):
        evaluate_model(model_of(None), Dataset.of(small_showroom))


def test_without_a_file_of_splits_they_are_those_of_the_model(small_showroom, model_of):
    splits = splits_of(small_showroom)
    model = load_model(model_of(splits))
    parts = {"pairs": "pairs.jsonl", "categories": "categories.json", "images": "images"}
    dataset = Dataset(
        **{name: small_showroom / file for name, file in parts.items()},
        features=small_showroom / "features",
    )
    test = read_held_out(model, dataset, ("test",))["test"]
    assert {pair.scene for pair in test.pairs} <= set(splits["test"])
