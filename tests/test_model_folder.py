"""A model's folder: the earlier model or the new one, whole, and never parts of two."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from completelook_build.backbones import BackboneCard, Network, source
from completelook_build.errors import ModelError
from completelook_build.heads import CompatibilityHeads, HeadsConfig
from completelook_build.training import Epoch, TrainedModel, load_model, model_folder, save_model
from torch import nn

CONFIG = HeadsConfig(categories=("Lamps", "Rugs"))
HISTORY = (Epoch(1, 0.3, 0.5), Epoch(2, 0.2, 0.75))


CARD = BackboneCard(
    source="small.pt",
    family="small",
    architecture="one layer",
    weights="drawn here",
    license="none",
    mean=(0.0, 0.0, 0.0),
    deviation=(1.0, 1.0, 1.0),
    channels=CONFIG.channels,
    pooled_size=CONFIG.pooled_size,
)


@pytest.fixture(autouse=True)
def _family_of_small_backbones(monkeypatch):
    monkeypatch.setitem(source._BUILD, "small", lambda _: nn.Linear(2, 2))


def make_model(seed):
    torch.manual_seed(seed)
    network = Network(CARD, nn.Linear(2, 2))
    return TrainedModel(network, CompatibilityHeads(CONFIG).eval(), CONFIG, {"seed": seed})


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model", make_model(0), HISTORY)
    return tmp_path / "model"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stored(folder, name):
    return folder / json.loads((folder / "model.json").read_text())["files"][name]


def backbone_id(model):
    return model.network.id("fp32")


def assert_same(loaded, model):
    assert loaded.config == model.config
    assert (loaded.heads_id, backbone_id(loaded)) == (model.heads_id, backbone_id(model))
    assert loaded.card["seed"] == model.card["seed"]
    assert int(loaded.card["model_id"], 16) == model.heads_id ^ backbone_id(model)


def test_a_saved_model_comes_back_with_its_ids_metrics_and_curve(folder):
    assert_same(load_model(folder), make_model(0))
    assert len(stored(folder, "metrics.csv").read_text().splitlines()) == 1 + len(HISTORY)
    assert stored(folder, "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_new_model_takes_the_place_of_the_earlier_and_leaves_nothing_of_it(folder):
    earlier = set(content(folder))
    save_model(folder, make_model(1), HISTORY)
    assert_same(load_model(folder), make_model(1))
    assert len(content(folder)) == len(earlier) == 5
    # The history is the same, and so is its file.
    assert {name.partition("-")[0] for name in earlier - set(content(folder))} == {
        "backbone",
        "heads",
    }


@pytest.mark.parametrize("at", ["_write_metrics", "_draw_curve", "sync", "write_text"])
def test_a_save_that_fails_leaves_the_earlier_model_alone(folder, at, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = content(folder)
    monkeypatch.setattr(model_folder, at, full)
    with pytest.raises(ModelError, match="No space left"):
        save_model(folder, make_model(1), HISTORY)
    assert content(folder) == before


def save_and_die(folder, model, steps):
    """Save in a process of its own that ends without a word before its n-th step on the disk."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = iter(range(steps))

    def dying(call):
        def step(*arguments, **options):
            if next(left, None) is None:
                os._exit(9)
            return call(*arguments, **options)

        return step

    for name in ("open", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir"):
        setattr(os, name, dying(getattr(os, name)))
    try:
        save_model(folder, model, HISTORY)
        os._exit(0)
    finally:
        os._exit(1)


def test_a_kill_at_any_step_leaves_the_earlier_model_or_the_new_one_whole(
    folder, tmp_path, monkeypatch
):
    # Drawing takes most of the time.
    monkeypatch.setattr(model_folder, "_draw_curve", lambda _, path: path.write_bytes(b"drawn"))
    found = []
    for steps in range(200):
        copy = tmp_path / f"killed{steps}"
        shutil.copytree(folder, copy)
        status = save_and_die(copy, make_model(1), steps)
        loaded = load_model(copy)
        assert_same(loaded, make_model(loaded.card["seed"]))
        for name in ("metrics.csv", "curve.png"):
            assert stored(copy, name).exists()
        found.append(loaded.card["seed"])
        # What a kill leaves behind is gone after the next save.
        save_model(copy, make_model(2), HISTORY)
        assert len([path for path in copy.iterdir() if "model.json." not in path.name]) == 5
        shutil.rmtree(copy)
        if status != 9:
            break
    assert status == 0
    assert found == sorted(found)
    assert found.count(0) > 10
    assert found.count(1) > 3


@pytest.mark.parametrize("name", ["backbone.pt", "heads.pt"])
def test_weights_of_another_training_are_refused(folder, name):
    other = make_model(1)
    module = other.heads if name == "heads.pt" else other.network.module
    torch.save(module.state_dict(), stored(folder, name))
    with pytest.raises(ModelError, match="the files are not of one model"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.json", "backbone.pt", "heads.pt"])
def test_a_missing_file_is_named(folder, name):
    path = folder / name if name == "model.json" else stored(folder, name)
    path.unlink()
    with pytest.raises(ModelError, match=path.name):
        load_model(folder)


MALFORMED = {
    "empty": b"",
    "text": b"<html>not found</html>",
    "a pickle that runs code": b"cos\nsystem\n(S'true'\ntR.",
    "a pickle of nonsense": b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01.",
}


@pytest.mark.parametrize("bytes_", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("name", ["heads.pt", "model.json"])
def test_a_malformed_file_is_an_error_of_one_line(folder, name, bytes_):
    path = folder / name if name == "model.json" else stored(folder, name)
    path.write_bytes(bytes_)
    with pytest.raises(ModelError, match="train it anew") as refused:
        load_model(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("length", range(0, 4000, 333))
def test_truncated_heads_are_refused(folder, length):
    path = stored(folder, "heads.pt")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ModelError, match="train it anew"):
        load_model(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"card": 1}', '{"card": {}, "files": []}', "1"])
def test_a_card_of_another_form_is_refused(folder, content):
    (folder / "model.json").write_text(content)
    with pytest.raises(ModelError, match="train it anew"):
        load_model(folder)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = make_model(0)
    heads = CompatibilityHeads(CONFIG)
    heads.attention_log_scale.data.fill_(float("-inf"))
    save_model(tmp_path, replace(model, heads=heads), HISTORY)
    with pytest.raises(ModelError, match="attention_log_scale holds a value that is not finite"):
        load_model(tmp_path)
