"""The response cache on the real tritonserver: what it saves, and the traps it brings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from completelook import CompleteLook, ContractError
from completelook.contract import EMBED_SCENE
from completelook.server import EmbeddedServer
from completelook_build.export import export_model
from google.protobuf import text_format
from planted import small_model
from toys import infer, owners_client, tensors, write_python_model
from tritonclient.grpc import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelConfig

pytestmark = pytest.mark.slow

ANY_PORTS: dict[str, Any] = {"grpc_port": 0, "metrics_port": 0}
CACHED = "response_cache { enable: true }\n"


@pytest.fixture(scope="module")
def cached_export(tmp_path_factory):
    repository = tmp_path_factory.mktemp("cached") / "model_repository"
    export_model(small_model(3), repository, response_cache=True)
    return repository


@pytest.fixture(scope="module")
def caching_server(cached_export):
    with EmbeddedServer(cached_export, **ANY_PORTS) as running:
        yield running


@pytest.fixture
def client(caching_server):
    with owners_client(caching_server) as connected:
        yield connected


@pytest.fixture
def caching_look(caching_server):
    with CompleteLook(caching_server.grpc_address, timeout_s=120) as connected:
        yield connected


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)


def hits(client, model=EMBED_SCENE.name):
    statistics = client.get_inference_statistics(model).model_stats[0].inference_stats
    return statistics.cache_hit.count


def executions(client, model):
    return client.get_inference_statistics(model).model_stats[0].execution_count


def test_only_embed_scene_is_cached_and_only_if_asked_for(cached_export, tmp_path):
    export_model(small_model(3), tmp_path)

    def cached(repository):
        configs = {
            path.parent.name: text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
            for path in repository.glob("*/config.pbtxt")
        }
        return {name for name, config in configs.items() if config.response_cache.enable}

    assert cached(cached_export) == {"embed_scene"}
    assert cached(tmp_path) == set()


def test_repeated_scene_is_a_hit_with_the_same_answer_and_no_work(client, caching_look):
    first = caching_look.embed_scene(noise(1))
    found, worked = hits(client), executions(client, "backbone")
    second = caching_look.embed_scene(noise(1))
    assert hits(client) == found + 1
    assert executions(client, "backbone") == worked
    assert second.model_id == first.model_id
    assert np.array_equal(second.embedding, first.embedding)
    assert np.array_equal(second.contexts, first.contexts)


def test_scene_that_differs_in_one_value_is_no_hit(client, caching_look):
    image = noise(2)
    first = caching_look.embed_scene(image)
    found = hits(client)
    image[0, 0, 0] ^= 255
    second = caching_look.embed_scene(image)
    assert hits(client) == found
    assert not np.array_equal(second.embedding, first.embedding)


def test_every_model_answers_in_full_for_a_picture_that_another_has_seen(caching_look):
    product = caching_look.embed_product(noise(3))
    scene = caching_look.embed_scene(noise(3))
    explained = caching_look.embed_scene(noise(3), regions=True)
    assert product.model_id == scene.model_id == explained.model_id
    np.testing.assert_allclose(explained.contexts, scene.contexts, atol=1e-5)
    assert explained.regions.shape == (196, 128)
    again = caching_look.embed_scene(noise(3))
    assert np.array_equal(again.contexts, scene.contexts)


def test_answer_to_fewer_outputs_is_all_that_a_later_request_gets(client, caching_look):
    """The trap: a client of one's own that does not ask for all outputs spoils it for the rest."""
    infer(client, EMBED_SCENE.name, {"IMAGE": noise(4)[None]}, ["SCENE_EMBEDDING"])
    with pytest.raises(ContractError, match="gave nothing for CONTEXT_EMBEDDINGS"):
        caching_look.embed_scene(noise(4))
    explained = caching_look.embed_scene(noise(4), regions=True)
    unseen = caching_look.embed_scene(noise(5))
    assert explained.contexts.shape == unseen.contexts.shape == (2, 128)


def write_cached_ensemble(repository: Path) -> None:
    """`outer`, an ensemble with a cache around the model `echo`."""
    write_python_model(repository, "echo")
    (repository / "outer" / "1").mkdir(parents=True)
    step = 'model_name: "echo" model_version: -1'
    maps = 'input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "OUT" }'
    (repository / "outer" / "config.pbtxt").write_text(
        'platform: "ensemble"\nmax_batch_size: 8\n'
        + tensors("input", ("IN", "FP32", [2]))
        + tensors("output", ("OUT", "FP32", [2]))
        + CACHED
        + f"ensemble_scheduling {{ step {{ {step} {maps} }} }}\n"
    )


def ask(client: InferenceServerClient, number: float) -> float:
    """What `outer` makes of a number."""
    answer = infer(client, "outer", {"IN": np.full((1, 2), number, np.float32)})
    return float(answer.as_numpy("OUT")[0, 0])


def test_answer_outlives_the_reload_of_a_model_but_no_restart(tmp_path: Path) -> None:
    """The trap on a roll-out: known scenes would go on coming with the old weights' MODEL_ID."""
    repository = tmp_path / "models"
    write_cached_ensemble(repository)
    arguments = ["--model-control-mode=explicit", "--load-model=*"]
    with EmbeddedServer(repository, **ANY_PORTS, arguments=arguments) as server:
        with owners_client(server) as client:
            assert ask(client, 3) == 3
            model = repository / "echo" / "1" / "model.py"
            model.write_text(model.read_text().replace(".as_numpy()", ".as_numpy() * 2"))
            client.load_model("echo")
            assert ask(client, 4) == 8
            assert ask(client, 3) == 3
        server.start()
        with owners_client(server) as client:
            assert ask(client, 3) == 6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], ["--cache-config=local,size=67108864"], id="own"),
        pytest.param(["--cache-config=local,size=1048576"], [], id="given"),
    ],
)
def test_cache_of_ones_own_takes_the_place_of_the_servers(
    tmp_path: Path, arguments: list[str], expected: list[str]
) -> None:
    server = EmbeddedServer(tmp_path, **ANY_PORTS, arguments=arguments)
    wanted = ModelConfig(response_cache={"enable": True})
    assert server._cache_options([ModelConfig(), wanted]) == expected
    assert server._cache_options([ModelConfig()]) == []
