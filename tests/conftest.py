"""What the tests share: a fake server, a client of it, a few products and their catalog."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from completelook import Catalog, CompleteLook
from completelook.server import EmbeddedServer
from completelook_build.backbone import BackboneSource, calibrate, load_resnet
from completelook_build.export import export_model
from completelook_build.model import CompatibilityHeads, HeadsConfig
from completelook_build.model_folder import TrainedModel
from fakes import FakeTriton, make_catalog, picture

_SLOW_MODULES = {"test_build_cli", "test_embedded_server", "test_pytorch_backend"}
_SLOW_FIXTURES = {"untrained", "exported", "server"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first: a broken one is known within seconds."""
    items.sort(key=_is_slow)


def _is_slow(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return item.path.stem in _SLOW_MODULES or not _SLOW_FIXTURES.isdisjoint(fixtures)


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


@pytest.fixture(scope="session")
def untrained() -> TrainedModel:
    """A whole model with random weights, its batch norms calibrated on noise."""
    resnet = load_resnet(BackboneSource("random:0"))
    random = torch.Generator().manual_seed(0)
    calibrate(resnet, [torch.randint(256, (4, 224, 224, 3), generator=random, dtype=torch.uint8)])
    torch.manual_seed(0)
    config = HeadsConfig(categories=("Decor|Rugs", 'Décor|"Lamps"', "Sofas"), attention_scale=5.0)
    return TrainedModel(resnet, CompatibilityHeads(config).eval(), config, {})


@pytest.fixture(scope="session")
def exported(untrained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the untrained model in it."""
    repository = tmp_path_factory.mktemp("exported") / "model_repository"
    export_model(untrained, repository)
    return repository


@pytest.fixture(scope="session")
def server(exported: Path) -> Iterator[EmbeddedServer]:
    """The real tritonserver with the untrained model."""
    with EmbeddedServer(exported, grpc_port=0, http_port=0, metrics_port=0) as running:
        yield running
