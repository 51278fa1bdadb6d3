"""The feature cache: computed once, resumed after a stop, keyed by what shapes it."""

import numpy as np
import pytest
import torch
from completelook_build.data.crop import Box
from completelook_build.errors import DataError
from completelook_build.features import store as features_module
from completelook_build.features.store import Picture, extract
from PIL import Image


class CountingBackbone:
    """Stands in for the backbone: pooled is the mean of the image, and it counts its images."""

    def __init__(self, identifier=1):
        self.id = identifier
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        means = images.float().mean(dim=(1, 2, 3))
        feature_map = means[:, None, None, None].expand(-1, 1024, 14, 14)
        return feature_map, means[:, None].expand(-1, 2048), None


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{level}.png" for level in range(20)]
    for level, path in enumerate(paths):
        Image.new("RGB", (30, 20), (level, level, level)).save(path)
    return [Picture(path) for path in paths]


def run(backbone, pictures, folder, **options):
    return extract(backbone, pictures, folder, with_regions=True, label="test", **options)


def test_features_are_computed_once(pictures, tmp_path):
    backbone = CountingBackbone()
    for _ in range(2):
        features = run(backbone, pictures, tmp_path / "cache")
        assert backbone.images == 20
        rows = np.array([3, 17])
        assert features.pooled(rows)[:, 0].tolist() == [3.0, 17.0]
        assert features.regions(rows).shape == (2, 196, 1024)
        assert features.regions(rows)[1, 5, 9] == 17.0


def test_a_stopped_extraction_goes_on(pictures, tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    backbone = CountingBackbone()
    with monkeypatch.context() as patch:
        store = features_module.Features.store
        patch.setattr(
            features_module.Features,
            "store",
            lambda *a: store(*a) if backbone.images <= 16 else stop(),
        )
        with pytest.raises(Stopped):
            run(backbone, pictures, tmp_path / "cache")
    features = run(CountingBackbone(), pictures, tmp_path / "cache")
    resumed = CountingBackbone()
    run(resumed, pictures, tmp_path / "cache")
    assert resumed.images == 0
    assert features.pooled(np.arange(20))[:, 0].tolist() == [float(level) for level in range(20)]
    assert backbone.images == 20


def test_another_backbone_another_picture_or_another_crop_is_not_reused(pictures, tmp_path):
    run(CountingBackbone(), pictures, tmp_path / "cache")
    other = CountingBackbone(identifier=2)
    run(other, pictures, tmp_path / "cache")
    assert other.images == 20
    cropped = [Picture(picture.path, Box(0.0, 0.0, 0.5, 1.0)) for picture in pictures]
    again = CountingBackbone()
    run(again, cropped, tmp_path / "cache")
    assert again.images == 20
    Image.new("RGB", (31, 20)).save(pictures[0].path)
    changed = CountingBackbone()
    run(changed, pictures, tmp_path / "cache")
    assert changed.images == 20


def test_a_crop_shows_only_its_part(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (20, 0, 40, 20))
    image.save(tmp_path / "half.png")
    assert Picture(tmp_path / "half.png", Box(0.0, 0.0, 0.5, 1.0)).load().max() == 0
    assert Picture(tmp_path / "half.png", Box(0.5, 0.0, 1.0, 1.0)).load().min() == 255


def test_a_broken_picture_is_marked_and_the_others_are_kept(pictures, tmp_path):
    pictures[4].path.write_bytes(b"not a picture")
    features = run(CountingBackbone(), pictures, tmp_path / "cache")
    assert np.flatnonzero(features.broken).tolist() == [4]
    assert features.pooled(np.array([5]))[0, 0] == 5.0


def test_a_vanished_picture_is_named(pictures, tmp_path):
    pictures[4].path.unlink()
    with pytest.raises(DataError, match=r"4\.png"):
        run(CountingBackbone(), pictures, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_names_the_option(pictures, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="--features DIR"):
        run(CountingBackbone(), pictures, tmp_path / "cache")


def test_regions_are_rounded_to_half_precision_alone(pictures, tmp_path):
    features = run(CountingBackbone(), pictures, tmp_path / "cache")
    assert features.regions(np.array([0])).dtype == torch.float32
