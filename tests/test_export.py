"""The export: ids inside the models, configurations, and nothing replaced by a failed one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from completelook.contract import ENSEMBLES, TORCHSCRIPT_MODELS
from completelook.golden import GoldenRecord
from completelook_build.backbones.resnet import BackboneSource, load_resnet
from completelook_build.errors import ExportError
from completelook_build.export import BATCHING, export_model, parity, repository_configs
from completelook_build.showroom import CATEGORIES
from completelook_build.training import TrainedModel
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

SHIPPED = Path(__file__).parent.parent / "model_repository"


def parsed(categories, precision="fp32"):
    return {
        name: text_format.Parse(text, ModelConfig())
        for name, text in repository_configs(categories, precision=precision).items()
    }


def test_the_shipped_configurations_are_the_showrooms_export():
    for name, text in repository_configs(tuple(sorted(CATEGORIES))).items():
        assert (SHIPPED / name / "config.pbtxt").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", ["plain", 'a "quoted" name', "back\\slash", "Möbel|Stühle"])
def test_any_category_name_survives_the_configuration(name):
    config = parsed([name, "other"])["embed_scene"]
    assert json.loads(config.parameters["categories"].string_value) == [name, "other"]


@pytest.mark.parametrize("precision", BATCHING)
def test_the_configurations_hold_the_contract(precision):
    configs = parsed(["a"], precision)
    for model in (*TORCHSCRIPT_MODELS, *ENSEMBLES):
        config = configs[model.name]
        assert [t.name for t in config.input] == [t.name for t in model.inputs]
        assert [(t.name, tuple(t.dims)) for t in config.output] == [
            (t.name, t.shape) for t in model.outputs
        ]
        assert config.max_batch_size == BATCHING[precision].max_batch_size


@pytest.mark.parametrize("precision", BATCHING)
def test_only_the_backbone_delays_and_no_head_drops_a_backbone_batch(precision):
    configs = parsed(["a"], precision)
    backbone = configs["backbone"]
    under_way = backbone.max_batch_size * backbone.instance_group[0].count
    assert configs["backbone"].dynamic_batching.max_queue_delay_microseconds > 0
    for head in ("scene_head", "product_head"):
        batching = configs[head].dynamic_batching
        assert batching.max_queue_delay_microseconds == 0
        assert batching.default_queue_policy.max_queue_size >= under_way


def test_a_swapped_backbone_changes_the_model_id(untrained, exported, tmp_path):
    swapped = TrainedModel(
        load_resnet(BackboneSource("random:1")), untrained.heads, untrained.config, {}
    )
    report = export_model(swapped, tmp_path)
    assert report.model_id != GoldenRecord.read(exported).model_id
    shutil.copy(tmp_path / "backbone/1/model.pt", tmp_path / "swapped.pt")
    backbone = torch.jit.load(tmp_path / "swapped.pt")
    head = torch.jit.load(exported / "product_head/1/model.pt")
    _, pooled, backbone_id = backbone(torch.zeros(1, 224, 224, 3, dtype=torch.uint8))
    _, model_id = head(pooled, backbone_id)
    assert model_id.item() == report.model_id


def test_a_failed_parity_check_replaces_nothing(untrained, exported, tmp_path, monkeypatch):
    shutil.copytree(exported, tmp_path / "repository")
    before = (tmp_path / "repository/backbone/1/model.pt").stat().st_mtime_ns
    monkeypatch.setattr(parity, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="nothing was exported"):
        export_model(untrained, tmp_path / "repository")
    assert (tmp_path / "repository/backbone/1/model.pt").stat().st_mtime_ns == before


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
