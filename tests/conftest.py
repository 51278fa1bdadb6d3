"""What the tests share: a fake server, a client of it, a few products and their catalog."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from completelook import Catalog, CompleteLook
from fakes import FakeTriton, make_catalog, picture


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPLETELOOK_SERVER", raising=False)


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    with FakeTriton().running() as fake:
        yield fake


@pytest.fixture
def look(triton: FakeTriton) -> Iterator[CompleteLook]:
    with CompleteLook(triton.address, timeout_s=10) as client:
        yield client


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A photo of red value 3, wider than high."""
    path = tmp_path / "room.png"
    picture(3, (64, 40)).save(path)
    return path


@pytest.fixture
def catalog_path(tmp_path: Path) -> Path:
    return make_catalog(tmp_path / "catalog.arrow")


@pytest.fixture
def catalog(catalog_path: Path) -> Catalog:
    return Catalog.open(catalog_path)
