"""The export: ids inside the models, configurations, and nothing replaced by a failed one."""

import json
import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from completelook import EmbeddedServerError, files
from completelook.contract import ENSEMBLES, STEPS
from completelook.golden import GoldenRecord
from completelook.server.repository import read_repository
from completelook_build.cli import app
from completelook_build.errors import ExportError
from completelook_build.export import (
    BATCHING,
    ExportReport,
    Parity,
    export_model,
    parity,
    repository_configs,
)
from completelook_build.export.export import count_operations
from completelook_build.heads import CompatibilityHeads, HeadsConfig, ProductHead, SceneHead
from completelook_build.showroom import CATEGORIES
from google.protobuf import text_format
from planted import set_statistics, small_model
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelDynamicBatching
from typer.testing import CliRunner

SHIPPED = Path(__file__).parent.parent / "model_repository"


def parsed(*categories, precision="fp32", **sizes):
    heads = HeadsConfig(categories=categories, **sizes)
    return {
        name: text_format.Parse(text, ModelConfig())
        for name, text in repository_configs(heads, precision=precision).items()
    }


def test_the_shipped_configurations_are_the_demos_export(untrained, tmp_path):
    config = replace(untrained.config, categories=tuple(sorted(CATEGORIES)))
    heads = CompatibilityHeads(config).eval()
    set_statistics(heads)
    export_model(replace(untrained, heads=heads, config=config), tmp_path)
    for path in tmp_path.glob("*/config.pbtxt"):
        shipped = SHIPPED / path.relative_to(tmp_path)
        assert shipped.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["plain", 'a "quoted" name', "back\\slash", "Möbel|Stühle"])
def test_any_category_name_survives_the_configuration(name):
    config = parsed(name, "other")["embed_scene"]
    assert json.loads(config.parameters["categories"].string_value) == [name, "other"]


@pytest.mark.parametrize("precision", BATCHING)
def test_the_configurations_hold_the_contract(precision):
    configs = parsed("a", precision=precision)
    for model in (*STEPS, *ENSEMBLES):
        config = configs[model.name]
        assert [t.name for t in config.input] == [t.name for t in model.inputs]
        for declared, agreed in zip(config.output, model.outputs, strict=True):
            assert declared.name == agreed.name
            assert all(
                want in (-1, dim) for dim, want in zip(declared.dims, agreed.shape, strict=True)
            )
        assert config.max_batch_size == BATCHING[precision].max_batch_size


def test_the_sizes_between_backbone_and_heads_follow_from_the_backbone():
    configs = parsed("a", channels=112, pooled_size=1280)
    backbone, scene_head, product_head = (configs[model.name] for model in STEPS)
    for tensors in (backbone.output, scene_head.input):
        assert [list(t.dims) for t in tensors] == [[112, 14, 14], [1280], [1]]
    assert [list(t.dims) for t in product_head.input] == [[1280], [1]]
    warmups = [list(w.inputs["POOLED__0"].dims) for w in product_head.model_warmup]
    assert warmups == [[1280], [1280]]


@pytest.mark.parametrize("precision", BATCHING)
def test_only_the_backbone_delays_and_refuses(precision):
    configs = parsed("a", precision=precision)
    assert configs["backbone"].dynamic_batching.default_queue_policy.max_queue_size > 0
    delay_us = configs["backbone"].dynamic_batching.max_queue_delay_microseconds
    assert (delay_us > 0) == (precision != "bf16")  # a CPU gains too little from a batch
    for head in ("scene_head", "product_head"):
        assert configs[head].HasField("dynamic_batching")
        # A bound or a timeout would leave the last of a burst waiting for half a second.
        assert configs[head].dynamic_batching == ModelDynamicBatching()


def test_a_request_waits_for_others_as_long_as_the_backbones_arithmetic_is_worth():
    heads = HeadsConfig(categories=("a",))
    configs = [
        text_format.Parse(repository_configs(heads, operations=each)["backbone"], ModelConfig())
        for each in ({}, {"backbone": 8_180_000_000}, {"backbone": 790_000_000}, {"backbone": 1})
    ]
    delays = [config.dynamic_batching.max_queue_delay_microseconds for config in configs]
    assert delays == [2000, 2000, 198, 100]


@torch.inference_mode()
def test_the_operations_of_a_picture_are_counted_as_by_hand(untrained):
    modules = {
        "backbone": untrained.backbone(),
        "scene_head": SceneHead(untrained.heads, 1),
        "product_head": ProductHead(untrained.heads, 1),
    }
    counted = count_operations(modules)
    wide, narrow = 256, 128  # the hidden layers of g_global, and of g_local and g_attention
    pooled = (untrained.config.pooled_size + 128) * wide
    channels = untrained.config.channels
    regions = 196 * (channels * 2 * narrow + 2 * narrow * 128 + 2 * 128 * 3)  # three categories
    assert counted["product_head"] == 2 * pooled
    assert counted["scene_head"] == 2 * (pooled + regions)
    head = 320 * 1280 * 7 * 7 + 1280 * 1000
    assert counted["backbone"] == pytest.approx(2 * (407e6 - head), rel=0.05)  # as published


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    repository = tmp_path_factory.mktemp("earlier")
    export_model(small_model(3), repository)
    return repository


def test_a_swapped_backbone_changes_the_model_id(earlier, tmp_path):
    report = export_model(small_model(3, backbone_seed=5), tmp_path)
    assert report.model_id != GoldenRecord.read(earlier).model_id
    shutil.copy(tmp_path / "backbone/1/model.pt", tmp_path / "swapped.pt")
    backbone = torch.jit.load(tmp_path / "swapped.pt")
    head = torch.jit.load(earlier / "product_head/1/model.pt")
    _, pooled, backbone_id = backbone(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    _, model_id = head(pooled, backbone_id)
    assert model_id.item() == report.model_id


@pytest.fixture
def repository(earlier, tmp_path):
    return Path(shutil.copytree(earlier, tmp_path / "repository"))


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = 10  # three models, six configurations and the record


@pytest.mark.parametrize("number", range(1, FILES + 1))
def test_a_rename_that_fails_leaves_the_earlier_export_whole(repository, number, monkeypatch):
    before, renames, replace = content(repository), count(1), Path.replace

    def failing(self, target):
        if next(renames) == number:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(ExportError, match="No space left"):
        export_model(small_model(4), repository)
    assert content(repository) == before


@pytest.mark.parametrize("name", ["write_text", "hardlink_to"])
def test_a_write_that_fails_leaves_the_earlier_export_whole(repository, name, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = content(repository)
    monkeypatch.setattr(Path, name, full)
    with pytest.raises(ExportError, match="No space left"):
        export_model(small_model(4), repository)
    assert content(repository) == before


@pytest.mark.parametrize("number", [1, 3, 4, FILES - 1])
def test_an_export_killed_between_two_renames_is_not_served(repository, number, monkeypatch):
    def killed(beside):
        for path, written in list(beside.items())[:number]:
            written.replace(path)

    monkeypatch.setattr(files, "_rename_all", killed)
    export_model(small_model(4), repository)
    with pytest.raises(EmbeddedServerError, match=r"backbone/1/model\.pt.* an export that was cut"):
        read_repository(repository)
    monkeypatch.undo()
    export_model(small_model(4), repository)
    assert len(read_repository(repository)) == 6


def test_the_record_tells_every_file_that_is_no_longer_the_exports(repository):
    record = GoldenRecord.read(repository)
    assert len(record.files) == FILES - 1
    assert record.changed_files(repository) == []
    weights = repository / "product_head/1/model.pt"
    damaged = bytearray(weights.read_bytes())
    damaged[len(damaged) // 2] ^= 0x40
    weights.write_bytes(damaged)
    (repository / "backbone/config.pbtxt").unlink()
    assert record.changed_files(repository) == ["product_head/1/model.pt", "backbone/config.pbtxt"]
    with pytest.raises(EmbeddedServerError, match=r"product_head/1/model\.pt not as the export"):
        read_repository(repository)


def test_a_configuration_changed_by_hand_is_served(repository):
    path = repository / "backbone/config.pbtxt"
    path.write_text(path.read_text() + "# mine\n")
    assert len(read_repository(repository)) == 6


def test_an_export_goes_beside_its_model_unless_told_otherwise(monkeypatch):
    asked = []

    def export(_, repository, **__):
        asked.append(repository)
        return ExportReport(1, "fp32", Parity({1: 0.0}, 0.0))

    monkeypatch.setattr("completelook_build.training.load_model", lambda _: small_model(3))
    monkeypatch.setattr("completelook_build.export.export_model", export)
    for options in ((), ("--model-repository", "mine")):
        result = CliRunner().invoke(app, ["export", "--model", "trained", *options])
        assert result.exit_code == 0, result.output
    assert asked == [Path("trained/model_repository"), Path("mine")]


def test_a_failed_parity_check_replaces_nothing(repository, monkeypatch):
    before = content(repository)
    monkeypatch.setitem(parity.TOLERANCES, "fp32", -1.0)
    with pytest.raises(ExportError, match="nothing was exported"):
        export_model(small_model(4), repository)
    assert content(repository) == before


def test_a_reduced_precision_may_be_rounded_otherwise_where_it_is_served(
    untrained, exported, tmp_path
):
    export_model(untrained, tmp_path, precision="bf16")
    reduced, full = GoldenRecord.read(tmp_path), GoldenRecord.read(exported)
    assert reduced.tolerance == 1e-2 > full.tolerance
    difference = np.subtract(reduced.scene_embedding, full.scene_embedding)
    assert 0 < np.abs(difference).max() < reduced.tolerance


def test_every_version_folder_is_kept_by_git(exported):
    for ensemble in ENSEMBLES:
        assert (exported / ensemble.name / "1" / ".gitkeep").exists()
        assert (SHIPPED / ensemble.name / "1" / ".gitkeep").exists()
