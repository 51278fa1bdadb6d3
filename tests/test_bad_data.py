"""Training on a data set with everything wrong in it: each reason is counted, and it goes on."""

import json
import shutil

import pytest
from completelook_build.cli import main
from completelook_build.data import Dataset
from completelook_build.training import TrainingConfig, train_model

BOX = [0.2, 0.8, 0.6, 1.0]


@pytest.fixture
def folder(small_showroom, tmp_path):
    shutil.copytree(small_showroom, tmp_path / "showroom", ignore=shutil.ignore_patterns("feat*"))
    return tmp_path / "showroom"


def scene_of(folder, split):
    return json.loads((folder / "splits.json").read_text())[split][0]


def spoil(folder):
    """Add every kind of bad pair to good data; what is said of them, by reason and count."""
    images, good = folder / "images", (folder / "pairs.jsonl").read_text().splitlines()
    known = json.loads(good[0])["product"]
    train, validation = scene_of(folder, "train"), scene_of(folder, "validation")
    new = {"torn": "Rugs", "page": "Rugs", "alone": "Doors", "pond": "Ponds", "well": "Ponds"}
    categories = json.loads((folder / "categories.json").read_text())
    of_rugs = next(name for name in categories.values() if name.endswith("Rugs"))
    categories |= {id_: category.replace("Rugs", of_rugs) for id_, category in new.items()}
    categories |= {"unseen": of_rugs, "odd": None}
    (folder / "categories.json").write_text(json.dumps(categories))
    for name in new:
        shutil.copy(images / f"{known}.jpg", images / f"{name}.jpg")
    whole = (images / f"{known}.jpg").read_bytes()
    (images / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "page.jpg").write_text("<html>not a picture</html>")
    boxes = [[0, 0, 1.5, 0.1], [0.5, 0.5, 0.5, 0.9], [float("nan"), 0, 1, 0.1], "all", []]
    rows = [
        *({"scene": train, "product": known, "bbox": box} for box in boxes),
        {"scene": train, "product": "who", "bbox": BOX},
        {"scene": train, "product": "odd", "bbox": BOX},
        {"scene": "nowhere", "product": known, "bbox": BOX},
        {"scene": train, "product": "unseen", "bbox": BOX},
        {"scene": train, "product": known, "bbox": [0.1, 0.1, 0.9, 0.9]},
        {"scene": train, "product": "alone", "bbox": BOX},
        {"scene": train, "product": "torn", "bbox": BOX},
        {"scene": train, "product": "page", "bbox": BOX},
        {"scene": train, "product": "pond", "bbox": BOX},
        {"scene": validation, "product": "well", "bbox": BOX},
    ]
    lines = [*good, good[0], good[1], "no json", "[]", *(json.dumps(row) for row in rows)]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return (
        "5 x box empty or outside 0 to 1 (sides must be shares of the picture)",
        "2 x product without a category",
        "1 x scene without a picture",
        "1 x product without a picture",
        "1 x crop keeps too little of the scene",
        "1 x category with a single product",
        "2 x duplicate of an earlier pair",
        "2 x malformed line",
    )


def test_training_counts_what_is_bad_and_goes_on(folder, tmp_path, capsys):
    reasons = spoil(folder)
    dataset = Dataset.of(folder, features=tmp_path / "features")
    config = TrainingConfig(epochs=2)
    model = train_model(dataset, tmp_path / "model", backbone="efficientnet-lite0", config=config)
    said = capsys.readouterr().err.splitlines()
    first = next(line for line in said if "malformed line" in line)
    assert sorted(first.partition(" pairs, ")[2].split(", ")) == sorted(reasons)
    of_train = next(line for line in said if line.startswith("train: "))
    assert "2 x picture that cannot be read" in of_train
    assert "1 x no other product of its category in the split" in of_train
    of_validation = next(line for line in said if line.startswith("validation: "))
    assert "x no other product of its category in the split" in of_validation
    assert any(line.startswith("nothing to learn from in Ponds") for line in said)
    (metrics,) = (tmp_path / "model").glob("metrics-*.csv")
    assert metrics.read_text().count("\n") == 3  # a head and two epochs
    assert sum(model.card["data"]["dropped"].values()) == 15


def test_nothing_but_bad_pairs_is_one_line(folder, tmp_path, monkeypatch, capsys):
    row = {"scene": "nowhere", "product": "who"}
    (folder / "pairs.jsonl").write_text(f"no json\n{json.dumps(row)}\n")
    assert_one_line(
        folder, tmp_path, monkeypatch, capsys, "1 x malformed line, 1 x product without a category"
    )
    assert not (tmp_path / "model").exists()
    assert capsys.readouterr().out == ""


def test_nothing_but_broken_pictures_is_one_line(folder, tmp_path, monkeypatch, capsys):
    for path in (folder / "images").glob("scene*.jpg"):
        path.write_bytes(b"\xff\xd8\xff")
    assert_one_line(folder, tmp_path, monkeypatch, capsys, "'train' has no pair left")


def assert_one_line(folder, tmp_path, monkeypatch, capsys, text):
    options = ["--data", folder, "--out", tmp_path / "model"]
    options += [
        "--backbone",
        "efficientnet-lite0",
        "--epochs",
        1,
        "--features",
        tmp_path / "features",
    ]
    monkeypatch.setattr("sys.argv", ["completelook-build", "train", *map(str, options)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert text in errors[0]
