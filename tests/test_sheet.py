"""The qualitative sheet: what is ranked and marked, the page and the picture."""

import re

import numpy as np
import pytest
from completelook_build.data import Dataset
from completelook_build.errors import ModelError
from completelook_build.evaluation.sheet import (
    _grid,
    _page,
    draw_pairs,
    make_example,
    make_sheet,
    thumbnail,
)
from completelook_build.features import Picture
from completelook_build.report.picture_grid import Cell, Grid, shortened
from PIL import Image
from planted import CATEGORIES, plant_pairs


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return plant_pairs(tmp_path_factory.mktemp("planted")).split("test", CATEGORIES)


def by_row(_, rows):
    """Distances that rank products as they lie in the cache."""
    return (rows / 10).astype(np.float32)


def paired_with_last_rug(split):
    last = split.candidates[CATEGORIES.index("Rugs")][-1]
    return int(np.flatnonzero(split.product_rows == last)[0])


def test_all_candidates_of_the_category_are_ranked_and_the_true_one_is_told(split):
    index = paired_with_last_rug(split)
    example = make_example(split, index, by_row, CATEGORIES)
    assert [each.product for each in example.nearest] == ["p0", "p1", "p2", "p3", "p4"]
    assert [each.rank for each in example.nearest] == [1, 2, 3, 4, 5]
    assert not any(each.is_true for each in example.nearest)
    assert (example.true.product, example.true.rank, example.candidates) == ("p5", 6, 6)
    assert example.true.distance == pytest.approx(0.5)
    # The scene's style is that of every third product.
    assert [each.product for each in example.nearest if each.fits] == ["p2"]


def test_the_true_product_among_the_nearest_is_marked(split):
    index = int(np.flatnonzero(split.product_rows == 1)[0])
    example = make_example(split, index, by_row, CATEGORIES)
    assert [each.is_true for each in example.nearest] == [False, True, False, False, False]
    assert example.true == example.nearest[1]
    [row] = _grid([example], "").rows
    assert [cell.marked for cell in row] == [False, True, False, True, False, False, False]


def test_scenes_are_drawn_once_each_and_the_same_in_every_run(split):
    drawn = draw_pairs(split, 4)
    assert drawn == draw_pairs(split, 4)
    assert len({split.pairs[index].scene for index in drawn}) == 4
    scenes = {pair.scene for pair in split.pairs}
    assert len(draw_pairs(split, 1000)) == len(scenes)


def test_names_are_escaped_and_a_picture_that_is_gone_has_a_placeholder(split):
    example = make_example(split, paired_with_last_rug(split), by_row, ("Lamps", "<b>|Rugs"))
    hidden = [each.__class__(**{**vars(each), "thumbnail": None}) for each in example.nearest]
    example = example.__class__(**{**vars(example), "nearest": tuple(hidden)})
    page = _page([example], "a <note>", "0123")
    assert "&lt;b&gt;" in page
    assert "a &lt;note&gt;" in page
    assert page.count("picture cannot<br>be opened") == 5
    assert page.count("<img") == 2
    assert "rank 6 of 6" in page
    assert not re.findall(r"https?://|url\(|<link|<script", page)
    assert _grid([example], "").draw().size[0] > 1000


def test_a_broken_product_picture_has_no_thumbnail(tmp_path):
    (tmp_path / "p.jpg").write_bytes(b"no picture")
    assert thumbnail(Picture(tmp_path / "p.jpg")) is None
    assert thumbnail(Picture(tmp_path / "gone.jpg")) is None


def test_the_sheet_of_a_model_is_a_page_and_a_picture(
    small_showroom, small_showroom_model, tmp_path
):
    data = Dataset.of(small_showroom)
    page, picture = make_sheet(small_showroom_model, data, tmp_path / "new", scenes=1)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {page.name, picture.name}
    html = page.read_text(encoding="utf-8")
    assert html.count('<section class="example">') == 1
    products = int(re.findall(r"at rank \d+ of (\d+)\.", html)[0])
    assert html.count("<img") == html.count("data:image/webp;base64,") == 2 + min(5, products)
    assert "1 test scenes, drawn with seed 0" in html
    with Image.open(picture) as opened:
        assert opened.format == "PNG"


def test_a_missing_model_is_named(small_showroom, tmp_path):
    data = Dataset.of(small_showroom)
    with pytest.raises(ModelError, match="nowhere: not a model folder"):
        make_sheet(tmp_path / "nowhere", data, tmp_path, scenes=1)


def test_a_long_text_is_cut_to_its_width():
    assert shortened("Rugs", 12, 100) == "Rugs"
    cut = shortened("Kitchen appliances and fixtures of every kind", 12, 100)
    assert cut.endswith("…")
    assert "Kitchen appliances".startswith(cut[:-1])


def test_cells_of_a_grid_stand_below_their_headings():
    red, blue = (Image.new("RGB", (80, 40), color) for color in ("#ff0000", "#0000ff"))
    rows = [[Cell(red, ("a",)), Cell(blue)], [Cell(None), Cell(red, marked=True)]]
    pixels = np.asarray(Grid("Title", "A note.", ["one", "two"], rows, side=100).draw())
    reds = np.argwhere((pixels == (255, 0, 0)).all(axis=-1))
    blues = np.argwhere((pixels == (0, 0, 255)).all(axis=-1))
    assert len(reds) == 2 * 80 * 40
    assert len(blues) == 80 * 40
    assert reds[:, 0].min() == blues[:, 0].min() < reds[:, 0].max() - 40
    # The second column starts a side and a gap to the right of the first.
    assert blues[:, 1].min() - reds[:, 1].min() == 112
