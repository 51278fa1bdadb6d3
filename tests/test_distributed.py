"""Two processes as torchrun starts them, on CPU over gloo, against one."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

SCENES = 120

# Run by every process: extraction with a small stand-in for the backbone, then a short training.
PROGRAM = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from completelook_build import distributed
from completelook_build.backbones import weights_id
from completelook_build.heads import HeadsConfig
from completelook_build.data import Dataset
from completelook_build.features import make_split, read_features
from completelook_build.training import TrainingConfig, train_heads

class ColorBackbone(torch.nn.Module):
    id, images = 1, 0
    card = SimpleNamespace(channels=8, pooled_size=8)

    def forward(self, images):
        self.images += len(images)
        corner = images[:, 0, 0].float() / 255  # [B, 3]: what was planted
        noise = (images.float().mean(dim=(1, 2, 3)) * 7919).sin()[:, None]
        pooled = torch.cat([corner, noise], 1).repeat(1, 2)
        regions = torch.cat([corner, noise], 1).repeat(1, 2)[:, :, None, None]
        return regions.expand(-1, -1, 14, 14), pooled, None

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(1)
with distributed.process_group():
    data = Dataset.of(folder).read()
    backbone = ColorBackbone()
    features = read_features(data, backbone, out / "features", ("train", "validation"))
    config = HeadsConfig(categories=data.categories, channels=8, pooled_size=8)
    splits = [make_split(features, name, data.categories) for name in ("train", "validation")]
    trained = train_heads(*splits, config, TrainingConfig(epochs=2, negatives=4))
    line = torch.nn.Linear(1, 1)
    model = distributed.averaging_gradients(line, every_weight_used=True)
    model(torch.tensor([[1.0 + distributed.rank()]])).sum().backward()
    result = {
        "gradient": line.weight.grad.item(),
        "images": backbone.images,
        "accuracy": [epoch.validation_accuracy for epoch in trained.history],
        "loss": [epoch.loss for epoch in trained.history],
        "weights": weights_id(trained.heads),
    }
    (out / f"rank{distributed.rank()}.json").write_text(json.dumps(result))
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """120 scenes and 20 products of 2 categories, each of one of 3 colors; the next color fits."""
    folder = tmp_path_factory.mktemp("planted")
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    for name, style in styles().items():
        picture = random.integers(256, size=(8, 8, 3), dtype=np.uint8)
        picture[:4, :4] = 255 * np.eye(3)[style]
        Image.fromarray(picture).save(folder / "images" / f"{name}.jpg", quality=95)
    style = styles()
    products = [name for name in style if name[0] == "p"]
    scenes = [name for name in style if name[0] == "s"]
    fitting = {s: [p for p in products if style[p] == (style[s] + 1) % 3] for s in scenes}
    pairs = [
        {"scene": scene, "product": str(product)}
        for scene in scenes
        for product in random.choice(fitting[scene], 3, replace=False)
    ]
    categories = {name: "Rugs" if int(name[1:]) < 10 else "Lamps" for name in products}
    (folder / "categories.json").write_text(json.dumps(categories))
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs))
    return folder


def styles():
    names = [f"s{number}" for number in range(SCENES)] + [f"p{number}" for number in range(20)]
    return {name: int(name[1:]) % 3 for name in names}


def run(planted, out, processes):
    (out / "program.py").write_text(PROGRAM)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), out / "program.py"]
    finished = subprocess.run(
        [*map(str, command), str(planted), str(out)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert finished.returncode == 0, finished.stderr
    return finished, [json.loads((out / f"rank{n}.json").read_text()) for n in range(processes)]


@pytest.fixture(scope="module")
def alone(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    return out, *run(planted, out, 1)


@pytest.fixture(scope="module")
def together(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("together")
    return out, *run(planted, out, 2)


def test_two_processes_reach_the_accuracy_of_one(alone, together):
    (one,), two = alone[2], together[2]
    assert max(one["accuracy"]) > 0.9
    assert max(two[0]["accuracy"]) == pytest.approx(max(one["accuracy"]), abs=0.05)
    # The first epoch draws the same triplets; dropout and batch norm alone differ.
    assert two[0]["loss"][0] == pytest.approx(one["loss"][0], rel=0.2)


def test_gradients_are_averaged_over_the_processes(alone, together):
    assert [one["gradient"] for one in alone[2]] == [1.0]
    assert [one["gradient"] for one in together[2]] == [1.5, 1.5]


def test_all_processes_end_with_the_same_heads(together):
    first, second = together[2]
    assert first["weights"] == second["weights"]
    assert first["accuracy"] == second["accuracy"]


def test_two_processes_share_the_extraction_and_fill_the_same_store(alone, together):
    (one,), two = alone[2], together[2]
    assert sum(share["images"] for share in two) == one["images"]
    assert abs(two[0]["images"] - two[1]["images"]) <= 2
    for name in ("features/{:016x}-8", "features/{:016x}-8-8"):
        rows = [stored(out / name.format(1)) for out in (alone[0], together[0])]
        assert rows[0] == rows[1]


def stored(folder):
    """What a store holds for each key, byte for byte."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as index:
        rows = dict(index.execute("SELECT key, row FROM rows"))
    files = [path.read_bytes() for path in sorted(folder.glob("*.f*"))]
    sizes = [len(content) // len(rows) for content in files]
    return {
        key: [c[row * size : (row + 1) * size] for c, size in zip(files, sizes, strict=True)]
        for key, row in rows.items()
    }


def test_only_the_first_process_speaks(together):
    assert "training" in together[1].stderr
    assert together[1].stderr.count("scene features") == 1
