"""The backbones: fused they compute what their families do; their sources, cards and ids."""

import json
import re
import sys
from dataclasses import asdict, replace
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
from completelook_build.backbones import (
    Backbone,
    BackboneCard,
    Network,
    load_network,
    rebuild_network,
    settle_batch_norms,
    weights_id,
)
from completelook_build.backbones import efficientnet_lite as lite_module
from completelook_build.backbones import resnet as resnet_module
from completelook_build.backbones import timm_model as timm_module
from completelook_build.backbones.fusing import fuse_batch_norms
from completelook_build.errors import WeightsError
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from torchvision.models import resnet50

TINY = ("test_vit", "test_efficientnet", "test_convnext")  # timm's own, for tests


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(0)
    return torch.randint(256, (2, 224, 224, 3), generator=random, dtype=torch.uint8)


def scaled(images, card):
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (card.mean, card.deviation))
    return (images.permute(0, 3, 1, 2) - mean) / deviation


def make_file(name, folder):
    """A state dict of a tiny timm model, its classifier included."""
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    return path


@torch.no_grad()
def test_fused_it_computes_torchvisions_blocks(images):
    network = load_network("random:0")
    resnet = resnet50()
    names = [name for name in resnet.state_dict() if not name.startswith("fc.")]
    own = dict(zip(names, network.module.state_dict().values(), strict=True))
    resnet.load_state_dict(own, strict=False)
    resnet.eval()
    plain = scaled(images, network.card)
    plain = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(plain))))
    block_3 = resnet.layer3(resnet.layer2(resnet.layer1(plain)))
    pooled = functional.adaptive_avg_pool2d(resnet.layer4(block_3), 1).flatten(1)
    feature_map, served_pooled, _ = Backbone(network)(images)
    torch.testing.assert_close(feature_map, block_3, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(served_pooled, pooled, atol=2e-4, rtol=1e-3)


@torch.inference_mode()
def test_a_backbone_runs_on_a_single_core(images):
    with torch.inference_mode(False):
        backbone = Backbone(load_network("random:0"))
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert backbone(images)[0].isfinite().all()
    finally:
        torch.set_num_threads(usual)


def norms(module):
    return [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]


@pytest.mark.parametrize("source", ["random:0", "efficientnet-lite0"])
def test_no_batch_norm_is_left(source):
    network = load_network(source)
    assert norms(network.module)
    assert not norms(Backbone(network))


class NeededBefore(nn.Module):
    """A convolution whose result goes elsewhere too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 1.0)

    def forward(self, images):
        convolved = self.conv(images)
        return self.norm(convolved), convolved


@torch.inference_mode()
def test_a_batch_norm_stays_where_fusing_it_would_change_an_answer():
    module, example = NeededBefore().eval(), torch.randn(1, 3, 8, 8)
    fused = fuse_batch_norms(module, example)
    for answer, expected in zip(fused(example), module(example), strict=True):
        torch.testing.assert_close(answer, expected)
    assert norms(fused)


def test_resnet_scales_as_torchvision_does_pixels_in_0_to_1(images):
    red = images[0, 5, 7, 0].item() / 255
    value = scaled(images, load_network("random:0").card)[0, 0, 5, 7]
    assert float(value) == pytest.approx((red - 0.485) / 0.229, abs=1e-5)


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (weights_id(load_network(f"random:{n}").module) for n in (3, 3, 4))
    assert first == second != other


def test_a_random_backbone_damps_its_residual_branches():
    weight = load_network("random:0").module.get_parameter("tail.0.1.bn3.weight")
    assert weight.unique().tolist() == pytest.approx([0.2])


def test_calibrated_a_random_backbone_neither_dies_nor_explodes(images):
    network = load_network("random:0")
    settle_batch_norms(network, [images])
    _, pooled, _ = Backbone(network)(images)
    assert 0.01 < float(pooled.mean()) < 100


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.manual_seed(1)
    torch.save(resnet50().state_dict(), path)
    return path


def test_a_file_gives_the_weights(resnet_file):
    first = torch.load(resnet_file, weights_only=True)["conv1.weight"]
    loaded = load_network(str(resnet_file)).module
    assert torch.equal(loaded.get_parameter("trunk.0.weight"), first)


def test_the_id_changes_with_weights_precision_and_scaling():
    network, other = load_network("efficientnet-lite0"), load_network("efficientnet-lite1")
    lighter = replace(network.card, mean=(128.0, 128.0, 128.0))
    ids = {
        network.id("fp32"),
        network.id("bf16"),
        other.id("fp32"),
        Network(lighter, network.module).id("fp32"),
    }
    assert len(ids) == 4
    assert all(0 <= one < 2**63 for one in ids)


def test_trained_resnet_weights_are_taken_from_torchs_cache(resnet_file, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    cached.parent.mkdir(parents=True)
    cached.symlink_to(resnet_file)
    loaded = load_network("resnet50")
    assert weights_id(loaded.module) == weights_id(load_network(str(resnet_file)).module)


def unreachable(**_):
    raise URLError("no route to host")


def test_without_a_network_the_ways_on_are_named(monkeypatch):
    monkeypatch.setattr(resnet_module, "resnet50", unreachable)
    with pytest.raises(WeightsError, match=r"efficientnet-lite0.*FILE.*TORCH_HOME.*random:0"):
        load_network("resnet50")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("random:x", "must be a whole number", id="seed"),
        pytest.param("gone.pt", "no such weights file", id="missing"),
        pytest.param("timm:test_vit@gone.pt", "no such weights file", id="missing file of timm's"),
        pytest.param("timm:tset_vit", "near it are.*test_vit", id="unknown model"),
        pytest.param("timm:vit_base_patch32_224", "no map of stride 16", id="coarse patches"),
    ],
)
def test_a_bad_source_is_named(source, message, monkeypatch):
    monkeypatch.setattr(timm, "create_model", without_weights(timm.create_model))
    named = source.removeprefix("timm:").rpartition("@")[2]
    with pytest.raises(WeightsError, match=f"{re.escape(named)}.*{message}"):
        load_network(source)


def without_weights(create_model):
    """timm's way to a model, its weights not downloaded."""
    return lambda name, **options: create_model(name, **{**options, "pretrained": False})


@pytest.mark.parametrize("content", [b"", b"not weights"], ids=["empty", "text"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "timm:test_vit@"], ids=["resnet50", "timm"])
def test_a_file_of_something_else_is_refused(tmp_path, content, suffix, prefix):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a state dict"):
        load_network(f"{prefix}{path}")


def test_a_file_with_more_than_weights_is_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1), "epoch": 3}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="more than named tensors"):
        load_network(str(tmp_path / "weights.pt"))


@torch.inference_mode()
@pytest.mark.parametrize("name", lite_module.NAMES)
def test_efficientnet_lite_computes_what_its_weights_were_made_for(name, images):
    from efficientnet_lite_pytorch import EfficientNet

    network = load_network(name)
    oracle = EfficientNet.from_name(name, image_size=224)
    origin = lite_module._WEIGHTS[name]
    oracle.load_state_dict(torch.load(lite_module._path(origin), weights_only=True))
    blocks = []
    for block in oracle.eval()._blocks:
        block.register_forward_hook(lambda _, __, output: blocks.append(output))
    pixels = (images.permute(0, 3, 1, 2).float() - 127) / 128
    oracle.extract_features(pixels)
    stem = functional.relu6(oracle._bn0(oracle._conv_stem(pixels)))
    colors = stem.unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=[4, 5])
    (last_of_14,) = [each for each in blocks if each.shape[2] == 14][-1:]
    expected = torch.cat([last_of_14, colors], dim=1)
    feature_map, pooled, _ = Backbone(network)(images)
    torch.testing.assert_close(feature_map, expected, atol=1e-4, rtol=1e-4)
    means = torch.cat([expected.mean(dim=[2, 3]), blocks[-1].mean(dim=[2, 3])], dim=1)
    torch.testing.assert_close(pooled, means, atol=1e-4, rtol=1e-4)
    assert feature_map.shape == (2, network.card.channels, 14, 14)
    assert pooled.shape == (2, network.card.pooled_size)


def test_other_weights_under_the_same_name_are_refused(tmp_path, monkeypatch):
    (tmp_path / "other.pth").write_bytes(b"other weights")
    monkeypatch.setattr(lite_module, "_path", lambda _: tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: its SHA-256 is .*, expected 5793442"):
        load_network("efficientnet-lite0")


@pytest.mark.parametrize("source", ["efficientnet-lite0", "timm:test_vit"])
def test_without_the_extra_it_is_named(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WeightsError, match=re.escape("pip install 'completelook[backbones]'")):
        load_network(source)


def as_timm_loads_it(name, path, **options):
    """timm's own way to weights in a file."""
    overlay = {"file": str(path)}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    return model.eval()


@torch.inference_mode()
@pytest.mark.parametrize("name", TINY)
def test_a_timm_model_gives_its_last_map_of_stride_16_and_what_its_classifier_gets(
    name, images, tmp_path
):
    path = make_file(name, tmp_path)
    network = load_network(f"timm:{name}@{path}")
    feature_map, pooled, _ = Backbone(network)(images)
    sized = {"img_size": 224} if "vit" in name else {}
    model = as_timm_loads_it(name, path, num_classes=0, **sized)
    pixels = scaled(images, network.card)
    if "vit" in name:
        (expected,) = model.get_intermediate_layers(pixels, 1, reshape=True, norm=True)
    else:
        maps = as_timm_loads_it(name, path, features_only=True)(pixels)
        (expected,) = (each for each in maps if each.shape[2:] == (14, 14))
    torch.testing.assert_close(feature_map, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pooled, model(pixels), atol=1e-4, rtol=1e-4)
    assert network.card.mean == pytest.approx([255 * m for m in model.pretrained_cfg["mean"]])
    assert (network.card.channels, network.card.pooled_size) == (expected.shape[1], pooled.shape[1])


def test_a_map_of_16_x_16_lies_on_the_picture_as_before():
    ramp = (torch.arange(16) + 0.5).div(16).expand(1, 1, 16, 16)  # where each column's middle is
    on_grid = timm_module._on_grid(ramp)
    assert on_grid.shape == (1, 1, 14, 14)
    expected = (torch.arange(14) + 0.5) / 14
    torch.testing.assert_close(on_grid[0, 0, 3], expected, atol=1e-6, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_traced_model_answers_as_the_eager_one_at_any_batch_size(name, precision, tmp_path):
    network = load_network(f"timm:{name}@{make_file(name, tmp_path)}")
    backbone = Backbone(network, precision)
    script = backbone.script()
    for batch in (1, 5):
        images = torch.randint(256, (batch, 224, 224, 3), dtype=torch.uint8)
        for answer, expected in zip(script(images), backbone(images), strict=True):
            torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["random:0", "efficientnet-lite0", "timm:test_vit@"])
def test_a_network_is_built_again_from_its_card_and_weights(source, tmp_path):
    if source.endswith("@"):
        source += str(make_file("test_vit", tmp_path))
    network = load_network(source)
    torch.save(network.module.state_dict(), tmp_path / "backbone.pt")
    card = BackboneCard.from_json(json.loads(json.dumps(asdict(network.card))))
    again = rebuild_network(card, tmp_path / "backbone.pt")
    assert again.card == network.card
    assert again.id("fp32") == network.id("fp32")


def test_a_family_of_another_version_is_named(tmp_path):
    card = replace(load_network("random:0").card, family="vgg")
    with pytest.raises(WeightsError, match="'vgg': expected one of efficientnet-lite, resnet50"):
        rebuild_network(card, tmp_path / "backbone.pt")


def slow_statistics(feature_map):
    """Mean and deviation of each channel, one by one: [C, H, W] -> [2 C]."""
    means = [float(np.mean(channel)) for channel in feature_map]
    deviations = [float(np.std(channel, ddof=1)) for channel in feature_map]
    return means + deviations


@pytest.mark.parametrize(
    ("source", "channels", "classified"),
    [("random:0", [256, 512, 1024], 0), ("efficientnet-lite0", [32, 24, 40, 80, 112], 1280)],
)
@torch.inference_mode()
def test_stages_are_pooled_beside_the_head(source, channels, classified, images):
    head, staged = load_network(source), load_network(source, "stages")
    scaled_images = scaled(images, head.card)
    regions, pooled = staged.module(scaled_images)
    expected_regions, expected_head = head.module(scaled_images)
    size = head.card.pooled_size
    assert staged.card.pooled_size == pooled.shape[1] == size + classified + 2 * sum(channels)
    assert torch.equal(regions, expected_regions)
    assert torch.equal(pooled[:, :size], expected_head)
    # The last stage is the regions, without a stem's.
    expected = slow_statistics(regions[0, : channels[-1]].numpy())
    assert pooled[0, -2 * channels[-1] :].tolist() == pytest.approx(expected, abs=1e-3)
    assert head.id("fp32") != staged.id("fp32")


@torch.inference_mode()
def test_what_is_pooled_survives_fusing_scripting_and_the_model_folder(images, tmp_path):
    network = load_network("efficientnet-lite0", "stages")
    expected = network.module(scaled(images, network.card))
    torch.save(network.module.state_dict(), tmp_path / "backbone.pt")
    card = BackboneCard.from_json(json.loads(json.dumps(asdict(network.card))))
    rebuilt = Backbone(rebuild_network(card, tmp_path / "backbone.pt"))
    for answer in (rebuilt(images), rebuilt.script()(images)):
        for found, wanted in zip(answer, expected, strict=False):
            assert (found - wanted).abs().max() < 1e-3 * wanted.abs().max()


@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_stages_of_timm_models_are_pooled(name, images, tmp_path):
    source = f"timm:{name}@{make_file(name, tmp_path)}"
    head, staged = load_network(source), load_network(source, "stages")
    regions, pooled = staged.module(scaled(images, staged.card))
    assert pooled.shape == (2, staged.card.pooled_size)
    assert staged.card.pooled_size > head.card.pooled_size + 2 * staged.card.channels - 1
    assert torch.equal(regions, head.module(scaled(images, head.card))[0])
