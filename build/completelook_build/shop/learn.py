"""From a shop's own photos to a model that can be served: what `completelook-build learn` does.

OUT/                    the model's folder, as `train` makes it, with its calibration
OUT/self-test.json      what the model is worth, in figures
OUT/model_repository/   what Triton serves
OUT/report.html         what the model is worth, for who sells the products
"""

import json
from pathlib import Path

from completelook.files import write_text

from completelook_build.console import say
from completelook_build.data import Dataset, describe, print_tables
from completelook_build.evaluation import print_evaluation
from completelook_build.export import export_model
from completelook_build.shop.page import write_page
from completelook_build.shop.self_test import calibrate_by_folds, run_self_test
from completelook_build.training import Recipe, load_model, train_model


def learn_from_photos(
    dataset: Dataset, out: Path, *, backbone: str, folds: int, recipe: Recipe
) -> Path:
    """Train, test, calibrate and export a model; returns the page that tells what it is worth.

    The self-test trains a model like it for each fold of the scenes, on the others, so that every
    photo is tested and none by a model that saw it. Raises DataError, WeightsError, TrainingError,
    ModelError or ExportError.
    """
    description = describe(dataset.read())
    print_tables(description)

    train_model(dataset, out, backbone=backbone, config=recipe)
    model = load_model(out)

    test = run_self_test(dataset, backbone, folds, recipe)
    print_evaluation(test.evaluation)

    trust = calibrate_by_folds(out, model.heads_id, test)
    figures = {**test.as_json(), "calibration": trust.as_json()}
    write_text(out / "self-test.json", json.dumps(figures, indent=2) + "\n")

    repository = out / "model_repository"
    exported = export_model(model, repository, calibration=trust.calibration)
    say(f"exported model {exported.model_id:016x} to {repository}; {exported.parity.as_text()}")

    page = out / "report.html"
    write_page(page, dataset, model, description, test, trust)
    return page
