from pathlib import Path

import numpy as np
import pytest
from completelook import Catalog, CompleteLook
from completelook.explain import attention_map, overlay, save_overlays, shrunk
from fakes import CATEGORIES, picture
from PIL import Image


def one_hot(row: int, column: int) -> np.ndarray:
    attention = np.zeros((14, 14), np.float32)
    attention[row, column] = 1
    return attention


@pytest.mark.parametrize("size", [(280, 140), (140, 280), (97, 61), (14, 14)])
def test_an_overlay_keeps_the_photos_own_size(size: tuple[int, int]) -> None:
    assert overlay(Image.new("RGB", size, "gray"), one_hot(3, 5)).size == size


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 13), (13, 0), (6, 9)])
def test_heat_lies_where_scaling_puts_the_region(row: int, column: int) -> None:
    photo = Image.new("RGB", (280, 140), "gray")
    heat = np.asarray(overlay(photo, one_hot(row, column)), np.int32).sum(axis=2)
    # A region covers 20 x 10 pixels of this photo.
    hottest = np.unravel_index(heat.argmax(), heat.shape)
    assert (hottest[0] // 10, hottest[1] // 20) == (row, column)


def test_what_is_not_attended_to_stays_recognizable_but_dark() -> None:
    photo = Image.new("RGB", (280, 140), (200, 100, 50))
    far_corner = np.asarray(overlay(photo, one_hot(0, 0)))[-1, -1]
    np.testing.assert_allclose(far_corner / (200, 100, 50), 0.4, atol=0.02)


@pytest.mark.parametrize("peak", [1.0, 0.01])
def test_heat_is_relative_to_the_maps_own_peak(peak: float) -> None:
    photo = Image.new("RGB", (56, 56), "gray")
    expected = np.asarray(overlay(photo, one_hot(7, 7)))
    np.testing.assert_array_equal(np.asarray(overlay(photo, one_hot(7, 7) * peak)), expected)


def test_a_map_of_nothing_is_no_division_by_zero() -> None:
    assert overlay(Image.new("RGB", (28, 28)), np.zeros((14, 14), np.float32)).size == (28, 28)


def test_one_picture_per_scene_and_category_under_safe_names(
    look: CompleteLook, catalog: Catalog, tmp_path: Path
) -> None:
    sources = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        sources.append(str(tmp_path / folder / "my room: 1.png"))
        picture(3, (60, 30)).save(sources[-1])
    scenes = list(look.rank_scenes(sources, catalog, regions=True))

    paths = save_overlays(scenes, catalog.categories, tmp_path / "out" / "deep")

    assert [path.name for path in paths] == [
        "my-room-1--Home-Rugs.jpg",
        "my-room-1--Garden-Chairs.jpg",
        "my-room-1-2--Home-Rugs.jpg",
        "my-room-1-2--Garden-Chairs.jpg",
    ]
    for path in paths:
        with Image.open(path) as saved:
            assert saved.size == (60, 30)


def test_a_large_photo_is_shrunk_in_its_own_aspect() -> None:
    assert shrunk(Image.new("RGB", (400, 100)), 200).size == (200, 50)
    assert shrunk(Image.new("RGB", (40, 10)), 200).size == (40, 10)


def test_a_scene_without_attention_cannot_be_explained(look: CompleteLook) -> None:
    with pytest.raises(ValueError, match="regions=True"):
        attention_map(look.embed_scene(picture(1)), CATEGORIES.index("Home|Rugs"))


def test_a_picture_that_cannot_be_written_whole_is_not_written_at_all(
    look: CompleteLook, catalog: Catalog, scene: Path, tmp_path: Path, monkeypatch
) -> None:
    def fill_the_disk(_: Image.Image, path: Path, *_rest: object, **_options: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    scenes = list(look.rank_scenes([str(scene)], catalog, regions=True))
    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        save_overlays(scenes, catalog.categories, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
