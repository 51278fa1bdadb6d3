"""The service's benchmark: what it counts, and what it says of a figure."""

from itertools import islice
from pathlib import Path

import pytest
from completelook import Catalog
from completelook.errors import ServerError
from completelook.web import Settings
from completelook_load.web.__main__ import Row
from completelook_load.web.asker import Asker, form
from completelook_load.web.measures import photos, steered, synthetic_catalog
from fakes import CATEGORIES, MODEL_ID, FakeTriton
from PIL import Image
from web_service import serving


@pytest.fixture
def asker(triton: FakeTriton, tmp_path: Path):
    path = synthetic_catalog(tmp_path / "c.arrow", 40, CATEGORIES, MODEL_ID)
    place = Settings(str(path), triton.address, scenes=tmp_path / "scenes")
    with serving(place) as web:
        yield Asker(f"{web.base_url.host}:{web.base_url.port}")


def test_a_made_up_catalog_is_spread_evenly_over_the_models_categories(tmp_path: Path) -> None:
    path = synthetic_catalog(tmp_path / "c.arrow", 40, CATEGORIES, MODEL_ID)
    assert Catalog.open(path).category_counts == dict.fromkeys(CATEGORIES, 10)


def test_no_photo_is_sent_twice(tmp_path: Path) -> None:
    ramp = Image.linear_gradient("L").convert("RGB")
    ramp.save(tmp_path / "ramp.png")
    assert len({*islice(photos([tmp_path / "ramp.png"]), 5)}) == 5


def test_answers_are_those_of_the_service_whole(asker: Asker, scene: Path) -> None:
    [answer] = asker.ask("/v1/rank", [form(scene.read_bytes())])
    assert answer.status == 200
    assert answer.content["scene"] == asker.token_of(scene.read_bytes())
    assert len(answer.content["categories"]) == len(CATEGORIES)
    assert answer.seconds > 0


def test_steering_is_timed_and_a_failure_is_none(
    asker: Asker, scene: Path, triton: FakeTriton
) -> None:
    token = asker.token_of(scene.read_bytes())
    before = triton.calls["ModelInfer"]
    assert len(steered(asker, token, 3)) == 3
    assert triton.calls["ModelInfer"] == before
    with pytest.raises(ServerError, match="410"):
        steered(asker, "0" * 64, 1)


def test_a_figure_says_whether_it_holds() -> None:
    assert Row("beside it", 0.1234, "%", 0.15).cells() == [
        "beside it",
        "12.3 %",
        "at most 15 %",
        "holds",
    ]
    assert Row("upload", 1.2, "ms", 0.15).cells()[1:] == ["1,200 ms", "at most 150 ms", "MISSED"]
    assert Row("failed", 0, most=0).cells()[1:] == ["0", "at most 0", "holds"]
    assert Row("refused", 1944).cells()[1:] == ["1,944", "", ""]
