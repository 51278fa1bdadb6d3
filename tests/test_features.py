"""The feature store: a row for each picture, computed once, whoever asks, whatever stops."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from completelook.errors import ImageError
from completelook_build.data import Box
from completelook_build.errors import DataError
from completelook_build.features import FeatureStore, Picture, Views, extract
from completelook_build.features.store import RowFile
from completelook_build.features.views import load_views, view_key
from PIL import Image


class CountingBackbone:
    """Stands in for the backbone: pooled is the mean of the image, and it counts its images."""

    def __init__(self, identifier=1):
        self.id = identifier
        self.card = SimpleNamespace(channels=1024, pooled_size=2048)
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


class Stopped(Exception):
    """Stands for a kill."""


def test_a_stopped_extraction_goes_on(pictures, tmp_path, monkeypatch):
    def stop_at_the_second_batch(*arguments):
        if backbone.images > 16:
            raise Stopped
        add(*arguments)

    backbone, add = CountingBackbone(), FeatureStore.add
    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "add", stop_at_the_second_batch)
        with pytest.raises(Stopped):
            run(backbone, pictures, tmp_path / "cache")
    resumed = CountingBackbone()
    features = run(resumed, pictures, tmp_path / "cache")
    assert resumed.images == 4
    assert levels(features) == [float(level) for level in range(20)]


def test_a_batch_that_was_being_written_is_computed_again(pictures, tmp_path, monkeypatch):
    def write_half(self, first, rows):
        write(self, first, rows[: len(rows) // 2])
        if rows.ndim == 3:
            raise Stopped

    write = RowFile.write
    with monkeypatch.context() as patch:
        patch.setattr(RowFile, "write", write_half)
        with pytest.raises(Stopped):
            run(CountingBackbone(), pictures[::-1], tmp_path / "cache")
    resumed = CountingBackbone()
    assert levels(run(resumed, pictures, tmp_path / "cache")) == [float(n) for n in range(20)]
    assert resumed.images == 20


def levels(features, count=20):
    """What the stand-in made of each picture, in both kinds of features."""
    rows = np.arange(count)
    pooled = features.pooled(rows)[:, 0].tolist()
    assert features.regions(rows)[:, 7, 5].tolist() == pooled
    return pooled


def test_another_backbone_and_another_crop_are_not_reused(pictures, tmp_path):
    run(CountingBackbone(), pictures, tmp_path / "cache")
    other = CountingBackbone(identifier=2)
    run(other, pictures, tmp_path / "cache")
    assert other.images == 20
    cropped = [Picture(picture.path, Box(0.0, 0.0, 0.5, 1.0)) for picture in pictures]
    again = CountingBackbone()
    run(again, cropped, tmp_path / "cache")
    assert again.images == 20


def test_a_changed_picture_recomputes_one_row(pictures, tmp_path):
    run(CountingBackbone(), pictures, tmp_path / "cache")
    Image.new("RGB", (31, 20), (99, 99, 99)).save(pictures[3].path)
    changed = CountingBackbone()
    features = run(changed, pictures, tmp_path / "cache")
    assert changed.images == 1
    assert levels(features) == [99.0 if level == 3 else float(level) for level in range(20)]


def test_another_list_of_pictures_uses_the_same_rows(pictures, tmp_path):
    run(CountingBackbone(), pictures[:15], tmp_path / "cache")
    more = CountingBackbone()
    features = run(more, pictures[::-1], tmp_path / "cache")
    assert more.images == 5
    assert levels(features) == [float(level) for level in range(20)][::-1]


def test_a_picture_is_known_by_its_content(pictures, tmp_path):
    run(CountingBackbone(), pictures, tmp_path / "cache")
    moved = pictures[0].path.rename(tmp_path / "moved.png")
    pictures[1].path.touch()
    twin = tmp_path / "twin.png"
    twin.write_bytes(pictures[2].path.read_bytes())
    again = CountingBackbone()
    named = [Picture(moved), pictures[1], Picture(twin)]
    assert levels(run(again, named, tmp_path / "cache"), 3) == [0.0, 1.0, 2.0]
    assert again.images == 0


def test_the_same_picture_twice_is_computed_once(pictures, tmp_path):
    backbone = CountingBackbone()
    features = run(backbone, [pictures[5], pictures[6], pictures[5]], tmp_path / "cache")
    assert backbone.images == 2
    assert levels(features, 3) == [5.0, 6.0, 5.0]


def test_rows_of_a_file_that_was_cut_short_are_computed_again(pictures, tmp_path):
    run(CountingBackbone(), pictures, tmp_path / "cache")
    [path] = (tmp_path / "cache").glob("*/regions.f16")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 3 // 4 + 10)
    again = CountingBackbone()
    assert levels(run(again, pictures, tmp_path / "cache")) == [float(n) for n in range(20)]
    assert again.images == 5


def test_two_that_add_at_once_do_not_overwrite_each_other(tmp_path):
    def add(number):
        store = FeatureStore(tmp_path / "store", pooled_size=8, channels=None)
        for batch in range(10):
            value = float(100 * number + batch)
            store.add([b"%d" % value], torch.empty(0), torch.full((1, 8), value))

    with ThreadPoolExecutor() as pool:
        list(pool.map(add, range(4)))
    store = FeatureStore(tmp_path / "store", pooled_size=8, channels=None)
    values = [100 * number + batch for number in range(4) for batch in range(10)]
    rows = store.rows([b"%d" % value for value in values])
    assert store.pooled(rows)[:, 0].tolist() == values


def test_a_full_disk_is_an_error_with_a_way_out(pictures, tmp_path):
    store = tmp_path / "cache" / f"{1:016x}-2048-1024"
    store.mkdir(parents=True)
    (store / "regions.f16").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"No space left on device.*--features DIR"):
        run(CountingBackbone(), pictures, tmp_path / "cache")


# Run where a small disk may be mounted without being root.
ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from completelook_build.errors import DataError
from test_features import CountingBackbone, Picture, run

pictures = [Picture(path) for path in sorted(Path(sys.argv[1]).glob("*.png"))]
try:
    run(CountingBackbone(), pictures, Path(sys.argv[2]))
except DataError as error:
    sys.exit(f"DataError: {error}")
"""


def test_a_disk_that_fills_up_is_an_error_and_no_signal(pictures, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "program.py").write_text(ON_A_SMALL_DISK)
    mount = f"mount -t tmpfs -o size=4m none {tmp_path / 'disk'}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("no disk may be mounted here")
    program = f"{sys.executable} {tmp_path / 'program.py'} {tmp_path} {tmp_path / 'disk'}"
    finished = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", f"{mount} && exec {program}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert finished.returncode == 1
    assert "DataError" in finished.stderr
    assert "No space left on device" in finished.stderr
    assert len(pictures) == 20


def test_a_crop_shows_only_its_part(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (20, 0, 40, 20))
    image.save(tmp_path / "half.png")
    assert Picture(tmp_path / "half.png", Box(0.0, 0.0, 0.5, 1.0)).load().max() == 0
    assert Picture(tmp_path / "half.png", Box(0.5, 0.0, 1.0, 1.0)).load().min() == 255


def test_a_broken_picture_is_named_and_the_others_are_kept(pictures, tmp_path, capsys):
    pictures[4].path.write_bytes(b"not a picture")
    features = run(CountingBackbone(), pictures, tmp_path / "cache")
    assert np.flatnonzero(features.broken).tolist() == [4]
    assert features.pooled(np.array([5]))[0, 0] == 5.0
    assert "cannot be read and is left out: 4.png\n" in capsys.readouterr().err


def test_an_unreadable_picture_is_tried_again_next_time(pictures, tmp_path, monkeypatch):
    def broken(*_):
        raise ImageError("no memory for this picture, just now")

    with monkeypatch.context() as patch:
        patch.setattr("completelook_build.features.picture.load_image", broken)
        assert run(CountingBackbone(), pictures, tmp_path / "cache").broken.all()
    features = run(CountingBackbone(), pictures, tmp_path / "cache")
    assert not features.broken.any()
    assert levels(features) == [float(level) for level in range(20)]


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


def test_views_are_rows_of_their_own_and_the_plain_one_is_shared(pictures, tmp_path):
    plain = run(CountingBackbone(), pictures, tmp_path / "cache")
    more = CountingBackbone()
    viewed = run(more, pictures, tmp_path / "cache", views=4)
    assert more.images == 3 * len(pictures)
    assert (plain.views, viewed.views) == (1, 4)
    assert levels(viewed) == levels(plain)
    rows, views = np.arange(20), np.full(20, 1)
    assert torch.equal(viewed.pooled(rows, views), plain.pooled(rows))  # a mirror of one gray
    again = CountingBackbone()
    run(again, pictures, tmp_path / "cache", views=4)
    assert again.images == 0


def test_a_picture_that_cannot_be_read_lacks_every_view(pictures, tmp_path):
    pictures[2].path.write_bytes(b"no picture")
    features = run(CountingBackbone(), pictures, tmp_path / "cache", views=3)
    assert features.broken.tolist() == [number == 2 for number in range(20)]


@pytest.fixture
def noise(tmp_path):
    path = tmp_path / "noise.png"
    levels = np.random.default_rng(0).integers(256, size=(300, 260, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((600, 520)).save(path)
    return Picture(path, Box(0.1, 0.0, 0.9, 1.0))


def test_a_view_is_the_same_whenever_it_is_made(noise):
    together = load_views(noise, b"key", range(6))
    for view in range(6):
        [alone] = load_views(noise, b"key", [view])
        assert np.array_equal(alone, together[view])
        assert alone.shape == (224, 224, 3)
    assert np.array_equal(together[0], noise.load())
    assert np.array_equal(together[1], noise.load()[:, ::-1])
    [other] = load_views(noise, b"another key", [2])
    assert not np.array_equal(other, together[2])
    assert len({image.tobytes() for image in together}) == 6


def test_the_views_of_a_picture_have_keys_of_their_own():
    assert view_key(b"key", 0) == b"key"
    assert len({view_key(key, view) for key in (b"a", b"b") for view in range(5)}) == 10


@pytest.mark.parametrize(("scenes", "expected"), [(164, 8), (500, 4), (3339, 2)])
def test_few_scenes_get_more_views(scenes, expected):
    assert Views(scenes=8).of_scenes(scenes) == expected
    assert Views().of_scenes(scenes) == 1
