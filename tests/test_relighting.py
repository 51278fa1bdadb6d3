"""Data in other light: products change, scenes do not."""

import json

import numpy as np
from completelook_build.data import Dataset, in_other_light, relight
from PIL import Image


def test_only_products_are_in_other_light_and_the_same_in_every_run(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    random = np.random.default_rng(0)
    for name in ("room", "rug", "lamp", "stool"):
        pixels = random.integers(256, size=(12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{name}.png")
    pairs = [{"scene": "room", "product": name} for name in ("rug", "lamp", "stool")]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    categories = dict.fromkeys(("rug", "lamp", "stool"), "Decor")
    (tmp_path / "categories.json").write_text(json.dumps(categories))

    first, second = (relight(Dataset.of(tmp_path), tmp_path / name) for name in ("one", "two"))

    written = {path.name: path.read_bytes() for path in first.iterdir()}
    assert written == {path.name: path.read_bytes() for path in second.iterdir()}
    assert set(written) == {"room.png", "rug.png", "lamp.png", "stool.png"}
    assert written["room.png"] == (images / "room.png").read_bytes()
    for name in categories:
        before, after = (pixels_of(folder / f"{name}.png") for folder in (images, first))
        assert after.shape == before.shape
        assert (after != before).any()


def pixels_of(path):
    return np.asarray(Image.open(path))


def test_light_multiplies_a_gray_picture_by_one_number_for_each_color():
    gray = Image.new("RGB", (4, 4), (100, 100, 100))
    lit = np.asarray(in_other_light(gray, "a seed"))
    assert (lit == lit[0, 0]).all()
    assert len(set(lit[0, 0].tolist())) > 1
    assert (lit != np.asarray(in_other_light(gray, "another seed"))).any()
