"""What the tests share: a fake server, a client of it, a few products and their catalog."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from completelook import Catalog, CompleteLook
from completelook.ranking import Calibration
from completelook.server import EmbeddedServer
from completelook_build.backbones import load_network
from completelook_build.data import SPLITS
from completelook_build.export import export_model
from completelook_build.heads import CompatibilityHeads, HeadsConfig
from completelook_build.showroom import render_showroom
from completelook_build.training import Epoch, TrainedModel, save_model
from fakes import CALIBRATION, FakeTriton, make_catalog, picture
from hypothesis import settings
from planted import set_statistics

# Their fixtures take seconds to make.
_SLOW_FIXTURES = {"untrained", "exported", "server", "small_showroom", "milvus"}


# How long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first: a broken one is known within seconds. Those of Milvus wait the longest."""
    for item in items:
        if not _SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)

    def place(item: pytest.Item) -> int:
        if item.get_closest_marker("slow") is None:
            return 0
        return 1 if "milvus" in getattr(item, "fixturenames", ()) else 2

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_process() -> None:
    """Where the suite is spread over processes, they share the cores, not each all of them."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def outages_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is gone stays gone: `index` would wait for minutes."""
    monkeypatch.setattr("completelook.concurrency._OUTAGE_S", 0.0)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a shop's file of some text or bytes."""

    def write(content: str | bytes, name: str = "shop.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER", "TLS", "CA", "CERT", "KEY", "HEADERS"):
        monkeypatch.delenv(f"COMPLETELOOK_{name}", raising=False)


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
    """A whole model: a real backbone, the cheapest, and heads that learned nothing."""
    torch.manual_seed(0)
    config = untrained_config("Decor|Rugs", 'Décor|"Lamps"', "Sofas")
    heads = CompatibilityHeads(config).eval()
    set_statistics(heads)
    return TrainedModel(load_network("efficientnet-lite0"), heads, config, {})


def untrained_config(*categories: str) -> HeadsConfig:
    """Heads for EfficientNet-Lite0."""
    return HeadsConfig(categories=categories, channels=144, pooled_size=464, attention_scale=5.0)


@pytest.fixture(scope="session")
def small_showroom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered data set of ten scenes."""
    folder = tmp_path_factory.mktemp("small") / "showroom"
    render_showroom(folder, scenes=10, products_per_category=10, seed=0)
    return folder


@pytest.fixture(scope="session")
def small_showroom_model(
    small_showroom: Path, untrained: TrainedModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an untrained model of that data set's categories."""
    categories = set(json.loads((small_showroom / "categories.json").read_text()).values())
    torch.manual_seed(0)
    config = untrained_config(*sorted(categories))
    heads = CompatibilityHeads(config).eval()
    card = {"splits": {name: [] for name in SPLITS}}
    folder = tmp_path_factory.mktemp("small") / "model"
    save_model(folder, TrainedModel(untrained.network, heads, config, card), (Epoch(1, 0.1, 0.5),))
    return folder


@pytest.fixture(scope="session")
def exported(untrained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the untrained model in it, calibrated as the fake one."""
    repository = tmp_path_factory.mktemp("exported") / "model_repository"
    export_model(untrained, repository, calibration=Calibration.from_json(CALIBRATION))
    return repository


@pytest.fixture(scope="session")
def server(exported: Path) -> Iterator[EmbeddedServer]:
    """The real tritonserver with the untrained model."""
    with EmbeddedServer(exported, grpc_port=0, metrics_port=0) as running:
        yield running
