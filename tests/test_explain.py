from pathlib import Path

import numpy as np
import pytest
from completelook import Catalog, CompleteLook
from completelook.explain import attention_map, overlay, save_overlays, shrunk
from completelook.images import open_image
from fakes import CATEGORIES, picture
from PIL import ExifTags, Image

RED = (200, 30, 20)


def one_hot(row: int, column: int) -> np.ndarray:
    attention = np.zeros((14, 14), np.float32)
    attention[row, column] = 1
    return attention


@pytest.mark.parametrize("size", [(280, 140), (140, 280), (97, 61), (14, 14)])
def test_an_overlay_keeps_the_photos_own_size(size: tuple[int, int]) -> None:
    assert overlay(Image.new("RGB", size, "gray"), one_hot(3, 5)).size == size


def in_color(drawn: Image.Image) -> np.ndarray:
    """Which pixels of a drawn red photo are still as red as they were, [height, width]."""
    return (np.asarray(drawn) == RED).all(axis=2)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 13), (13, 0), (6, 9)])
@pytest.mark.parametrize("size", [(280, 140), (140, 280)], ids=["landscape", "portrait"])
def test_color_is_left_where_scaling_puts_the_region(row, column, size) -> None:
    kept = in_color(overlay(Image.new("RGB", size, RED), one_hot(row, column)))
    rows, columns = np.nonzero(kept)
    assert rows.mean() // (size[1] / 14) == row
    assert columns.mean() // (size[0] / 14) == column
    assert kept.mean() < 2 / 196


def test_a_photo_turned_by_exif_is_drawn_as_the_model_saw_it(tmp_path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (280, 140), RED).save(tmp_path / "turned.png", exif=exif)
    photo = open_image(tmp_path / "turned.png")
    rows, columns = np.nonzero(in_color(overlay(photo, one_hot(0, 13))))
    assert photo.size == (140, 280)
    assert (rows.mean() // 20, columns.mean() // 10) == (0, 13)


def test_the_rest_is_gray_and_recognizable() -> None:
    photo = Image.new("RGB", (280, 140), RED)
    photo.paste((200, 200, 200), (0, 70, 280, 140))
    far_corner, above = (np.asarray(overlay(photo, one_hot(0, 0)))[row, -1] for row in (-1, 0))
    assert len(set(far_corner.tolist())) == len(set(above.tolist())) == 1
    assert far_corner[0] > above[0] > 40


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_half_of_the_attention_is_in_color(share: float) -> None:
    attention = np.full((14, 14), 1.0, np.float32)
    rows = round(14 * share)
    attention[:rows] = 14 / rows - 1  # so that these rows hold half of it
    attention /= attention.sum()
    kept = in_color(overlay(Image.new("RGB", (280, 280), RED), attention))
    assert kept[: 20 * rows - 20].mean() > 0.9
    assert kept[20 * rows + 20 :].sum() == 0


@pytest.mark.parametrize("peak", [1.0, 0.01])
def test_what_is_drawn_does_not_depend_on_a_maps_scale(peak: float) -> None:
    photo = Image.new("RGB", (56, 56), RED)
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
