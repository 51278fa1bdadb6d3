"""Real product and room photos through the real server, where the data folder is at hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from completelook import Catalog, CompleteLook, index
from completelook.explain import write_report

DATA = Path(__file__).parents[2] / "shared" / "ikea"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="the real pictures are not at hand")


@pytest.fixture(scope="module")
def rugs():
    with (DATA / "products.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["category"] == "Decor|Rugs"][:16]


@pytest.fixture(scope="module")
def rooms():
    lines = (DATA / "ikea.json").read_text(encoding="utf-8").splitlines()
    scenes = sorted({json.loads(line)["scene"] for line in lines})
    return [DATA / "images" / f"{scene}.jpg" for scene in scenes[:3]]


def test_real_rooms_rank_real_rugs(server, rugs, rooms, tmp_path):
    table = tmp_path / "rugs.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "image", "category", "name"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "image": DATA / row["image"]} for row in rugs)
    with CompleteLook(server.grpc_address, timeout_s=60) as look:
        report = index(table, tmp_path / "rugs.arrow", look)
        catalog = Catalog.open(tmp_path / "rugs.arrow")
        ranked = list(look.rank_scenes(rooms, catalog, categories=("Rugs",), regions=True))
    assert report.indexed == len(rugs)
    assert not report.skipped
    for room in ranked:
        (matches,) = room.matches.values()
        distances = [match.distance for match in matches]
        assert distances == sorted(distances)
        assert all(0.0 <= distance <= 4.0 for distance in distances)
        np.testing.assert_allclose(room.embedding.attention.sum(axis=(1, 2)), 1.0, atol=1e-4)
    write_report(tmp_path / "rooms.html", ranked, catalog)
    page = (tmp_path / "rooms.html").read_text(encoding="utf-8")
    assert all(match.id in page for match in matches)
