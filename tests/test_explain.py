import json
from pathlib import Path

import numpy as np
import pytest
from completelook import Catalog, CompleteLook, RankedScene, SceneEmbedding
from completelook.explain import attention_map, marked, overlay, shrunk, write_explanation
from completelook.images import open_image
from completelook.ranking import Steering, rank_scene
from fakes import CATEGORIES, MODEL_ID, axis, picture
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


CORNERS = [(0, 0), (0, 13), (13, 0), (13, 13)]


def looking_at(row: int, column: int) -> SceneEmbedding:
    """A scene of which every category attends to one region alone, which product 3 suits."""
    attention = np.stack([one_hot(row, column)] * len(CATEGORIES))
    regions = np.stack([axis(3)] * 196)
    contexts = attention.reshape(-1, 196) @ regions
    return SceneEmbedding(axis(9), contexts, MODEL_ID, attention, regions)


def saved_photo(path: Path, shown_size: tuple[int, int], orientation: int | None) -> None:
    """A red photo that is shown in a size; turned by its EXIF, the file holds another one."""
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    width, height = shown_size
    size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    Image.new("RGB", size, RED).save(path, exif=exif)


@pytest.mark.parametrize(("row", "column"), CORNERS)
@pytest.mark.parametrize(
    ("size", "orientation"),
    [((280, 140), None), ((140, 280), None), ((140, 280), 6), ((280, 140), 8), ((280, 140), 3)],
    ids=["landscape", "portrait", "turned right", "turned left", "upside down"],
)
def test_the_pictures_of_a_category_and_of_its_product_light_up_the_same_corner(
    catalog: Catalog, tmp_path: Path, size, orientation, row: int, column: int
) -> None:
    saved_photo(tmp_path / "red.png", size, orientation)
    scene = looking_at(row, column)
    matches = rank_scene(scene, catalog, ["Rugs"], top=1)
    ranked = RankedScene(str(tmp_path / "red.png"), scene, matches)
    pictures = write_explanation(tmp_path / "why", [ranked], catalog)
    assert [path.name for path in pictures] == [
        "red--Home-Rugs.png",
        "red--Home-Rugs--1-rug-3.png",
    ]
    for path in pictures:
        with Image.open(path) as drawn:
            assert drawn.size == size
            rows, columns = np.nonzero(in_color(drawn))
        assert rows.mean() // (size[1] / 14) == row
        assert columns.mean() // (size[0] / 14) == column


def test_an_explanation_holds_the_parts_of_every_distance_and_a_few_pictures(
    look: CompleteLook, catalog: Catalog, tmp_path: Path
) -> None:
    sources = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        sources.append(str(tmp_path / folder / "my room: 1.png"))
        picture(3, (60, 30)).save(sources[-1])
    scenes = list(look.rank_scenes(sources, catalog, top=5, regions=True))
    steering = Steering(ignore=[(0.5, 0, 1, 1)])

    pictures = write_explanation(tmp_path / "out" / "deep", scenes, catalog, steering=steering)

    names = [path.name for path in pictures]
    assert names[:5] == [
        "my-room-1--Home-Rugs.png",
        "my-room-1--Home-Rugs--1-rug-3.png",
        "my-room-1--Home-Rugs--2-rug-0.png",
        "my-room-1--Home-Rugs--3-rug-1.png",
        "my-room-1--Garden-Chairs.png",
    ]
    assert names[8] == "my-room-1-2--Home-Rugs.png"
    assert {path.name for path in (tmp_path / "out" / "deep").iterdir()} == {
        *names,
        "explain.json",
    }
    for path in pictures:
        with Image.open(path) as saved:
            assert saved.size == (60, 30)
    told = json.loads((tmp_path / "out" / "deep" / "explain.json").read_text())
    assert told["steering"] == {"ignore": [[0.5, 0, 1, 1]], "focus": []}
    assert told["model_id"] == "0000000000001234"
    for scene, own in zip(scenes, told["scenes"], strict=True):
        assert own["scene"] == scene.source
        for category, matches in zip(own["categories"], scene.matches.values(), strict=True):
            assert np.sum(category["attention"]) == pytest.approx(1)
            assert [each["id"] for each in category["products"]] == [each.id for each in matches]
            for product, match in zip(category["products"], matches, strict=True):
                assert np.shape(product["contributions"]) == (14, 14)
                total = np.sum(product["contributions"])
                assert total == pytest.approx(match.local_distance, abs=1e-5)
                assert product["local_distance"] == match.local_distance


def test_a_category_where_nothing_fits_is_explained_by_where_the_model_looked(
    look: CompleteLook, catalog: Catalog, scene: Path, tmp_path: Path
) -> None:
    nothing = ["name=none"]
    scenes = list(look.rank_scenes([str(scene)], catalog, ["Rugs"], where=nothing, regions=True))
    assert [path.name for path in write_explanation(tmp_path / "out", scenes, catalog)] == [
        "room--Home-Rugs.png"
    ]
    told = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert told["scenes"][0]["categories"][0]["products"] == []


def test_what_is_ignored_is_crossed_out_and_what_is_in_focus_framed() -> None:
    photo = Image.new("RGB", (280, 140), RED)
    steering = Steering(ignore=[(0, 0, 0.5, 1)], focus=[(0.25, 0, 0.75, 1)])
    drawn = np.asarray(marked(photo, steering))  # [height, width, 3]
    assert (np.asarray(photo) == RED).all()
    is_mark = (drawn != RED).any(axis=2)
    assert is_mark[70, 69:72].any()  # where the cross's lines meet
    assert is_mark[0, :210].all()
    assert is_mark[50, 208:212].any()
    assert not is_mark[:, 215:].any()


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
        write_explanation(tmp_path / "out", scenes, catalog)
    assert not list((tmp_path / "out").iterdir())
