"""The backbone: fused, it computes what torchvision's ResNet50 does; its sources and id."""

import re
from urllib.error import URLError

import pytest
import torch
from completelook_build.backbones import resnet as backbone_module
from completelook_build.backbones.resnet import (
    Backbone,
    BackboneSource,
    load_resnet,
    normalise,
    weights_id,
)
from completelook_build.errors import WeightsError
from torch.nn import functional


@pytest.fixture(scope="module")
def images():
    return torch.randint(256, (2, 224, 224, 3), dtype=torch.uint8)


@torch.inference_mode()
def test_fused_it_computes_torchvisions_blocks(untrained, images):
    backbone, resnet = untrained.backbone(), untrained.resnet
    plain = normalise(images, backbone.mean, backbone.deviation)
    plain = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(plain))))
    block_3 = resnet.layer3(resnet.layer2(resnet.layer1(plain)))
    pooled = functional.adaptive_avg_pool2d(resnet.layer4(block_3), 1).flatten(1)
    feature_map, served_pooled, _ = backbone(images)
    torch.testing.assert_close(feature_map, block_3, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(served_pooled, pooled, atol=2e-4, rtol=1e-3)


def test_normalise_is_torchvisions_of_pixels_in_0_to_1(untrained, images):
    backbone = untrained.backbone()
    red = images[0, 5, 7, 0].item() / 255
    value = normalise(images, backbone.mean, backbone.deviation)[0, 0, 5, 7]
    assert float(value) == pytest.approx((red - 0.485) / 0.229, abs=1e-5)


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (load_resnet(BackboneSource(f"random:{seed}")) for seed in (3, 3, 4))
    assert weights_id(first) == weights_id(second) != weights_id(other)


def test_a_random_backbone_damps_its_residual_branches():
    resnet = load_resnet(BackboneSource("random:0"))
    assert resnet.layer3[1].bn3.weight.unique().tolist() == pytest.approx([0.2])


def test_calibrated_a_random_backbone_neither_dies_nor_explodes(untrained, images):
    _, pooled, _ = untrained.backbone()(images)
    assert 0.01 < float(pooled.mean()) < 100


def test_a_file_gives_back_the_weights(untrained, tmp_path):
    torch.save(untrained.resnet.state_dict(), tmp_path / "weights.pt")
    loaded = load_resnet(BackboneSource(str(tmp_path / "weights.pt")))
    assert weights_id(loaded) == weights_id(untrained.resnet)


def test_the_id_changes_with_weights_and_precision(untrained):
    fp32 = untrained.backbone().id
    assert fp32 != untrained.backbone("bf16").id
    other = load_resnet(BackboneSource("random:0"))  # not calibrated
    assert fp32 != Backbone(other).id
    assert 0 <= fp32 < 2**63


def test_imagenet_weights_are_taken_from_torchs_cache(untrained, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    cached.parent.mkdir(parents=True)
    torch.save(untrained.resnet.state_dict(), cached)
    loaded = load_resnet(BackboneSource("imagenet"))
    assert weights_id(loaded) == weights_id(untrained.resnet)


def unreachable(**_):
    raise URLError("no route to host")


def test_imagenet_without_a_network_names_the_three_ways_on(monkeypatch):
    monkeypatch.setattr(backbone_module, "resnet50", unreachable)
    with pytest.raises(WeightsError, match=r"FILE.*TORCH_HOME.*random:0"):
        load_resnet(BackboneSource("imagenet"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("random:x", "must be a whole number", id="seed"),
        pytest.param("gone.pt", "no such weights file", id="missing"),
    ],
)
def test_a_bad_source_is_named(source, message):
    with pytest.raises(WeightsError, match=f"{re.escape(source)}.*{message}"):
        load_resnet(BackboneSource(source))


@pytest.mark.parametrize("content", [b"", b"not weights"], ids=["empty", "text"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a state dict"):
        load_resnet(BackboneSource(str(path)))
