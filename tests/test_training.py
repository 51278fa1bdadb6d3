"""Training on synthetic features: it learns, is reproducible, and is scored as the loops say."""

import shutil
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from completelook_build.errors import DataError, TrainingError
from completelook_build.features import PairFeatures, make_split
from completelook_build.heads import (
    CompatibilityHeads,
    HeadsConfig,
    PairScore,
    pair_accuracy,
    pairwise_accuracy,
    score_split,
)
from completelook_build.training import (
    Checkpoint,
    TrainingConfig,
    train_heads,
    triplet_hinge,
)
from completelook_build.training.loop import standardise_inputs
from planted import CATEGORIES, SCENES, PlantedFeatures, plant_pairs


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return plant_pairs(tmp_path_factory.mktemp("pairs"))


CONFIG = HeadsConfig(categories=CATEGORIES)


@pytest.fixture(scope="module")
def trained(features):
    train, validation = (
        make_split(features, n, CONFIG.categories) for n in ("train", "validation")
    )
    return train_heads(train, validation, CONFIG, TrainingConfig(epochs=3))


def test_it_learns_what_was_planted(features, trained):
    test = make_split(features, "test", CONFIG.categories)
    torch.manual_seed(0)
    untrained = CompatibilityHeads(CONFIG)
    assert pairwise_accuracy(score_split(trained.heads, test)) > 0.8
    assert pairwise_accuracy(score_split(untrained, test)) < 0.5


class PoisonedFeatures(PlantedFeatures):
    """One number among all the regions is none."""

    def regions(self, rows, _views=None):
        regions = super().regions(rows)
        regions[0, 0, 0] = float("nan")
        return regions


def test_a_loss_that_is_no_number_ends_training_and_nothing_is_saved(splits, tmp_path):
    train, validation = splits
    features = replace(train.features, scenes=PoisonedFeatures([0] * SCENES, seed=1))
    checkpoint = Checkpoint(tmp_path, ORIGIN, resume=False)
    with pytest.raises(TrainingError, match="the loss of batch 1 is nan"):
        train_heads(
            replace(train, features=features),
            validation,
            CONFIG,
            TrainingConfig(epochs=3),
            checkpoint=checkpoint,
        )
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_end_training(splits):
    config = TrainingConfig(epochs=3, batch_size=1000, learning_rate=float("inf"))
    with pytest.raises(TrainingError, match=r"epoch 1 left .* not finite"):
        train_heads(splits[0], splits[1], CONFIG, config)


def test_the_same_seed_trains_the_same_heads(features, trained):
    train, validation = (
        make_split(features, n, CONFIG.categories) for n in ("train", "validation")
    )
    again = train_heads(train, validation, CONFIG, TrainingConfig(epochs=3))
    assert again.history == trained.history
    for name, value in trained.heads.state_dict().items():
        assert torch.equal(value, again.heads.state_dict()[name]), name


def test_another_seed_trains_other_heads(splits, trained):
    other = train_heads(splits[0], splits[1], CONFIG, TrainingConfig(epochs=1, seed=1))
    assert other.history[0].loss != trained.history[0].loss


def test_the_best_epoch_is_kept(features, trained):
    validation = make_split(features, "validation", CONFIG.categories)
    assert trained.kept.validation_accuracy == max(e.validation_accuracy for e in trained.history)
    assert pairwise_accuracy(score_split(trained.heads, validation)) == pytest.approx(
        trained.kept.validation_accuracy
    )


@pytest.fixture
def splits(features):
    return tuple(make_split(features, n, CONFIG.categories) for n in ("train", "validation"))


def slow_semi_hard_loss(distances, margin):
    """FaceNet's choice, pair by pair: farther than the positive, but not by the margin."""
    losses = []
    for positive, *negatives in distances.tolist():
        chosen = [d for d in negatives if positive < d < positive + margin] or negatives
        losses.append(sum(max(0.0, positive - d + margin) for d in chosen) / len(chosen))
    return sum(losses) / len(losses)


def test_semi_hard_mining_is_the_loops():
    random = torch.Generator().manual_seed(0)
    distances = torch.rand(50, 6, generator=random)
    distances[0] = torch.tensor([1.0, 0.5, 0.7, 1.5, 1.3, 1.9])  # none is semi-hard
    distances[1] = torch.tensor([1.0, 1.0, 0.7, 1.1, 1.3, 1.9])  # a tie is not
    expected = slow_semi_hard_loss(distances, 0.2)
    assert triplet_hinge(distances, 0.2, "semi-hard").item() == pytest.approx(expected)
    assert triplet_hinge(distances, 0.2).item() != pytest.approx(expected)


def test_semi_hard_mining_learns_too_and_otherwise(splits, trained):
    mined = train_heads(splits[0], splits[1], CONFIG, TrainingConfig(epochs=2, mining="semi-hard"))
    assert mined.kept.validation_accuracy > 0.9
    assert mined.history[0].loss != trained.history[0].loss


class Killed(BaseException):
    """Stands for a signal that nobody can catch."""


class DyingCheckpoint(Checkpoint):
    """Dies right after the first epoch was saved."""

    def save(self, state):
        super().save(state)
        raise Killed


ORIGIN = {"seed": 0, "categories": CONFIG.categories}


@pytest.fixture(scope="module")
def unfinished(features, tmp_path_factory):
    """A folder with the checkpoint of a training that was killed after its first epoch."""
    folder = tmp_path_factory.mktemp("unfinished")
    train, validation = (
        make_split(features, n, CONFIG.categories) for n in ("train", "validation")
    )
    checkpoint = DyingCheckpoint(folder, ORIGIN, resume=False)
    with pytest.raises(Killed):
        train_heads(train, validation, CONFIG, TrainingConfig(epochs=3), checkpoint=checkpoint)
    return folder


def test_a_resumed_training_equals_an_uninterrupted_one(splits, unfinished, trained, tmp_path):
    shutil.copy(unfinished / "checkpoint.pt", tmp_path)
    checkpoint = Checkpoint(tmp_path, ORIGIN, resume=True)
    resumed = train_heads(
        splits[0], splits[1], CONFIG, TrainingConfig(epochs=3), checkpoint=checkpoint
    )
    whole = trained
    assert len(resumed.history) == 3
    assert resumed.history == whole.history
    assert resumed.kept == whole.kept
    weights = whole.heads.state_dict()
    for name, value in resumed.heads.state_dict().items():
        assert torch.equal(value, weights[name]), name
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_holds_the_epochs_done(unfinished, trained):
    state = Checkpoint(unfinished, ORIGIN, resume=True).load()
    assert state["history"] == [asdict(trained.history[0])]


def test_a_checkpoint_of_other_settings_is_refused(unfinished):
    other = Checkpoint(unfinished, {"seed": 1, "categories": ["Rugs"]}, resume=True)
    with pytest.raises(TrainingError, match="another seed, another categories"):
        other.load()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02}q\x00(X\x01\x00."])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(TrainingError, match="not a readable checkpoint") as refused:
        Checkpoint(tmp_path, ORIGIN, resume=True).load()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"origin": {}, "state": 1}])
def test_a_file_of_tensors_that_is_no_checkpoint_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        Checkpoint(tmp_path, ORIGIN, resume=True).load()


def test_without_resume_a_checkpoint_is_left_aside_and_said_so(unfinished, capsys):
    assert Checkpoint(unfinished, ORIGIN, resume=False).load() is None
    assert "--resume would go on" in capsys.readouterr().err


def test_resuming_without_a_checkpoint_starts_at_the_first_epoch(tmp_path, capsys):
    assert Checkpoint(tmp_path / "new", ORIGIN, resume=True).load() is None
    assert "starts at the first epoch" in capsys.readouterr().err


def test_the_input_statistics_come_from_a_bounded_sample(splits, monkeypatch):
    train, _ = splits
    monkeypatch.setattr("completelook_build.training.loop._STATISTICS_REGION_ROWS", 4)
    monkeypatch.setattr("completelook_build.training.loop._STATISTICS_POOLED_ROWS", 5)
    asked = []
    for name in ("pooled", "regions"):
        read = getattr(PlantedFeatures, name)
        monkeypatch.setattr(
            PlantedFeatures,
            name,
            lambda self, rows, *views, read=read, name=name: (
                asked.append((name, len(rows))) or read(self, rows, *views)
            ),
        )
    standardise_inputs(CompatibilityHeads(CONFIG), train, np.random.default_rng(0))
    assert sorted(asked) == [("pooled", 5), ("pooled", 5), ("regions", 4)]


def test_negatives_are_of_the_category_and_never_known_to_fit(features):
    train = make_split(features, "train", CONFIG.categories)
    random = np.random.default_rng(0)
    indices = np.arange(len(train))
    rows_of = {category: set(rows.tolist()) for category, rows in train.candidates.items()}
    for index, drawn in zip(indices, train.draw_negatives(indices, 200, random), strict=True):
        category = int(train.categories[index])
        fitting = train.fitting[train.pairs[index].scene, category]
        assert set(drawn.tolist()) == rows_of[category] - fitting


@torch.inference_mode()
def test_scores_are_the_models_distances_one_by_one(features, trained):
    test = make_split(features, "test", CONFIG.categories)
    scores = score_split(trained.heads, test)
    for index in (0, len(test) - 1):
        rows = [int(test.product_rows[index]), *test.negatives(index).tolist()]
        expected = [
            trained.heads(
                features.scenes.pooled(test.scene_rows[[index]]),
                features.scenes.regions(test.scene_rows[[index]]),
                torch.from_numpy(test.categories[[index]]),
                features.products.pooled(np.array([row]))[None],
            ).item()
            for row in rows
        ]
        assert [scores[index].positive, *scores[index].negatives] == pytest.approx(
            expected, abs=1e-5
        )


def test_pair_accuracy_counts_farther_negatives_and_half_of_ties():
    score = PairScore("s", 0, 1.0, np.array([0.5, 1.0, 1.5, 2.0], dtype=np.float32))
    slow = sum(1.0 if d > 1.0 else 0.5 if d == 1.0 else 0.0 for d in score.negatives) / 4
    assert pair_accuracy(score) == slow == 0.625


def test_a_pair_with_a_broken_picture_is_left_out(features):
    scenes: Any = PlantedFeatures([0] * SCENES, seed=1)
    before = len(make_split(features, "test", CONFIG.categories))
    broken = PairFeatures(
        features.data, scenes, features.products, features.scene_row, features.product_row
    )
    lost = features.data.split("test")[0].scene
    scenes.broken[int(lost[1:])] = True
    after = make_split(broken, "test", CONFIG.categories)
    assert lost not in {pair.scene for pair in after.pairs}
    assert len(after) < before


def test_a_split_with_nothing_readable_is_an_error(features):
    scenes: Any = PlantedFeatures([0] * SCENES, seed=1)
    scenes.broken[:] = True
    broken = PairFeatures(
        features.data, scenes, features.products, features.scene_row, features.product_row
    )
    with pytest.raises(DataError, match="'test' has no pair left"):
        make_split(broken, "test", CONFIG.categories)
