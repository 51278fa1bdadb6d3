"""The qualitative sheet: test scenes, their true products and what the model ranks nearest.

DIR/sheet.html    a page that needs no other file; DIR/sheet.png shows the same
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from completelook.errors import ImageError
from completelook.explain import EmbeddedPicture, embedded_picture, shrunk
from completelook.files import write_text
from PIL import Image

from completelook_build.data import Dataset
from completelook_build.features import Picture, Split, scene_picture
from completelook_build.heads import Distances, heads_distances
from completelook_build.report import Cell, Grid, render_page, save_png
from completelook_build.training import load_model, read_held_out

TOP = 5
TEMPLATES = "completelook_build.evaluation"
_SEED = 0
_SCENE_SIDE, _PRODUCT_SIDE = 480, 200


@dataclass(frozen=True)
class RankedProduct:
    """A candidate of a pair's category, at its place among all of them."""

    product: str
    rank: int
    distance: float
    is_true: bool
    fits: bool  # some pair says that it belongs to the scene; the true product always does
    thumbnail: Image.Image | None  # None where the picture cannot be opened

    @property
    def picture(self) -> EmbeddedPicture:
        """The thumbnail as the page holds it."""
        if self.thumbnail is None:
            return EmbeddedPicture("")
        return embedded_picture(self.thumbnail)


@dataclass(frozen=True)
class Example:
    """A scene without a pair's product, that product, and the nearest of its category."""

    scene: str
    category: str
    candidates: int
    photo: Image.Image
    true: RankedProduct
    nearest: tuple[RankedProduct, ...]

    @property
    def picture(self) -> EmbeddedPicture:
        """The photo as the page holds it."""
        return embedded_picture(self.photo)


def make_sheet(
    folder: Path, dataset: Dataset, out: Path, *, scenes: int, trained_scenes: bool = False
) -> tuple[Path, Path]:
    """Write the page and the picture of a model folder; returns where they are.

    Raises DataError, ModelError, or ImageError for a scene that cannot be opened.
    """
    model = load_model(folder)
    test = read_held_out(model, dataset, ("test",), trained_scenes=trained_scenes)["test"]
    distances = heads_distances(model.heads, test)
    examples = [
        make_example(test, index, distances, model.config.categories)
        for index in draw_pairs(test, scenes)
    ]
    note = _note(examples)
    write_text(out / "sheet.html", _page(examples, note, model.card["model_id"]))
    save_png(_grid(examples, note).draw(), out / "sheet.png")
    return out / "sheet.html", out / "sheet.png"


def draw_pairs(split: Split, scenes: int) -> list[int]:
    """A random pair of each of some random scenes; the same split gives the same pairs."""
    of_scene: dict[str, list[int]] = {}
    for index, pair in enumerate(split.pairs):
        of_scene.setdefault(pair.scene, []).append(index)
    random = np.random.default_rng(_SEED)
    names = sorted(of_scene)
    drawn = random.choice(len(names), min(scenes, len(names)), replace=False)
    return [int(random.choice(of_scene[names[row]])) for row in drawn]


def make_example(
    split: Split, index: int, distances: Distances, categories: Sequence[str]
) -> Example:
    """Rank all of the split's products of a pair's category. Raises ImageError."""
    pair, category = split.pairs[index], int(split.categories[index])
    rows = split.candidates[category]  # [M]
    measured = distances(index, rows)  # [M]
    order = np.argsort(measured, kind="stable")  # [M]
    product_of = {row: product for product, row in split.features.product_row.items()}

    def ranked(place: int) -> RankedProduct:
        row = int(rows[order[place]])
        return RankedProduct(
            product_of[row],
            place + 1,
            float(measured[order[place]]),
            row == split.product_rows[index],
            row in split.fitting[pair.scene, category],
            thumbnail(Picture(split.features.data.pictures[product_of[row]])),
        )

    true_place = int(np.flatnonzero(rows[order] == split.product_rows[index])[0])
    photo = shrunk(scene_picture(split.features.data, pair).open(), _SCENE_SIDE)
    nearest = tuple(ranked(place) for place in range(min(TOP, len(rows))))
    return Example(pair.scene, categories[category], len(rows), photo, ranked(true_place), nearest)


def thumbnail(picture: Picture) -> Image.Image | None:
    """A product's picture made small, None where it cannot be opened."""
    try:
        return shrunk(picture.open(), _PRODUCT_SIDE)
    except ImageError:
        return None


def _note(examples: Sequence[Example]) -> str:
    found = sum(example.true.rank <= TOP for example in examples)
    return (
        f"{len(examples)} test scenes, drawn with seed {_SEED}, each without the product that "
        f"stands in it, and the {TOP} nearest of all test products of its category. The true "
        f"product is framed; it is among them in {found} of {len(examples)} scenes. Below a "
        "product its distance: smaller is more compatible."
    )


def _page(examples: Sequence[Example], note: str, model_id: str) -> str:
    return render_page(
        "sheet.html.jinja", TEMPLATES, examples=examples, note=note, model_id=model_id
    )


def _grid(examples: Sequence[Example], note: str) -> Grid:
    headings = ["scene", "true product", *(f"nearest {rank}" for rank in range(1, TOP + 1))]
    return Grid("Complete the Look: test scenes", note, headings, [_row(e) for e in examples])


def _row(example: Example) -> list[Cell]:
    true = example.true
    place = f"rank {true.rank} of {example.candidates}, {true.distance:.3f}"
    name = example.category.rpartition("|")[2]
    return [
        Cell(example.photo, (name, example.scene)),
        Cell(true.thumbnail, (true.product, place), marked=True),
        *(
            Cell(
                each.thumbnail,
                (each.product, f"{each.distance:.3f}{_remark(each)}"),
                marked=each.is_true,
            )
            for each in example.nearest
        ),
    ]


def _remark(product: RankedProduct) -> str:
    if product.is_true:
        return ", the true one"
    return ", also in this scene" if product.fits else ""
