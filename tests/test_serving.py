"""The whole chain on the real tritonserver, against eager PyTorch and the paper's loops."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from completelook import Catalog, CompleteLook, index, load_image
from completelook.clients.doctor import diagnose
from completelook.contract import EMBED_PRODUCT, EXPLAIN_SCENE
from completelook_build.export import run_chain
from completelook_build.heads import ProductHead, SceneHead
from PIL import Image
from toys import owners_client
from tritonclient.grpc import InferInput

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def eager(untrained, images):
    modules = {
        "backbone": untrained.backbone().eval(),
        "scene_head": SceneHead(untrained.heads, untrained.heads_id).eval(),
        "product_head": ProductHead(untrained.heads, untrained.heads_id).eval(),
    }
    return {
        name: value.numpy() for name, value in run_chain(modules, torch.from_numpy(images)).items()
    }


@pytest.fixture
def client(server):
    with owners_client(server) as connected:
        yield connected


@pytest.fixture
def real_look(server):
    with CompleteLook(server.grpc_address, timeout_s=120) as connected:
        yield connected


def infer(client, model, images):
    tensor = InferInput("IMAGE", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    result = client.infer(model.name, [tensor])
    return {output.name: result.as_numpy(output.name) for output in model.outputs}


def assert_close(answer, eager, rows):
    for name, value in answer.items():
        np.testing.assert_allclose(value, eager[name][rows], atol=TOLERANCE, rtol=0, err_msg=name)


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("model", [EXPLAIN_SCENE, EMBED_PRODUCT], ids=lambda model: model.name)
def test_a_batch_through_triton_equals_eager(client, images, eager, model, batch_size):
    answer = infer(client, model, images[:batch_size])
    assert_close(answer, eager, slice(0, batch_size))


def test_sixteen_in_flight_equal_eager_and_share_batches(client, images, eager):
    before = client.get_inference_statistics("backbone", as_json=True)["model_stats"][0]
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda row: infer(client, EXPLAIN_SCENE, images[row : row + 1]), range(32))
        )
    for row, answer in enumerate(answers):
        assert_close(answer, eager, slice(row, row + 1))
    after = client.get_inference_statistics("backbone", as_json=True)["model_stats"][0]
    inferences = int(after["inference_count"]) - int(before["inference_count"])
    executions = int(after["execution_count"]) - int(before["execution_count"])
    assert inferences == 32
    assert executions < inferences


@pytest.fixture
def shop(tmp_path):
    """Twelve products of two categories and a room."""
    random = np.random.default_rng(1)
    for category in ("Rugs", "Sofas"):
        (tmp_path / "products" / category).mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            name = f"{category}{number}.png"
            Image.fromarray(pixels).save(tmp_path / "products" / category / name)
    Image.fromarray(random.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(
        tmp_path / "room.png"
    )
    return tmp_path


def slow_distances(scene, category, product):
    """The paper's global and local distance, by loops over numbers and regions."""
    attention = scene.attention[category].ravel()
    d_global = sum((s - p) ** 2 for s, p in zip(scene.embedding, product, strict=True))
    d_local = 0.0
    for weight, region in zip(attention, scene.regions, strict=True):
        d_local += weight * sum((f - p) ** 2 for f, p in zip(region, product, strict=True))
    return d_global, d_local


def test_rank_prints_the_papers_sum_over_196_regions(real_look, shop):
    index(shop / "products", shop / "catalog.arrow", real_look)
    catalog = Catalog.open(shop / "catalog.arrow")
    scene = real_look.embed_scene(shop / "room.png", regions=True)
    for row, category in enumerate(real_look.categories()):
        if category not in ("Decor|Rugs", "Sofas"):
            continue
        matches = real_look.rank(scene, catalog, category=category, top=100)
        assert len(matches) == 6
        slow = {
            match.id: slow_distances(scene, row, catalog.get([match.id]).embeddings[0])
            for match in matches
        }
        for match in matches:
            d_global, d_local = slow[match.id]
            assert match.global_distance == pytest.approx(d_global, abs=TOLERANCE)
            assert match.local_distance == pytest.approx(d_local, abs=TOLERANCE)
            assert match.distance == pytest.approx((d_global + d_local) / 2, abs=TOLERANCE)
        assert [match.id for match in matches] == sorted(slow, key=lambda name: sum(slow[name]))


def test_the_look_is_the_best_set_of_what_the_server_says_of_room_and_products(real_look, shop):
    index(shop / "products", shop / "catalog.arrow", real_look)
    catalog = Catalog.open(shop / "catalog.arrow")
    scene = real_look.embed_scene(shop / "room.png")
    names = ("Decor|Rugs", "Sofas")
    to_scene, embeddings = {}, {}
    for name in names:
        for match in real_look.rank(scene, catalog, category=name, top=100):
            to_scene[match.id] = match.distance
            embeddings[match.id] = catalog.get([match.id]).embeddings[0].astype(float)
    scores = {}
    for rug in (id_ for id_ in to_scene if id_.startswith("Rugs")):
        for sofa in (id_ for id_ in to_scene if id_.startswith("Sofas")):
            apart = sum((embeddings[rug] - embeddings[sofa]) ** 2)
            scores[rug, sofa] = 0.75 * (to_scene[rug] + to_scene[sofa]) / 2 + 0.25 * apart
    looks = real_look.complete(shop / "room.png", catalog, ["Rugs", "Sofas"], coherence=0.25)
    assert len(scores) == 36
    assert looks.looks[0].score == pytest.approx(min(scores.values()), abs=TOLERANCE)
    chosen = {match.id for match in looks.looks[0].matches}
    assert chosen == {*min(scores, key=scores.get)}


def test_the_category_table_survives_the_wire(real_look, untrained):
    assert real_look.categories() == untrained.config.categories


def test_a_picture_is_embedded_as_training_sees_it(real_look, untrained, shop):
    path = shop / "room.png"
    with torch.inference_mode():
        _, pooled, _ = untrained.backbone()(torch.from_numpy(load_image(path)[None]))
        expected = untrained.heads.embed_pooled(pooled)[0].numpy()
    np.testing.assert_allclose(real_look.embed_product(path).embedding, expected, atol=TOLERANCE)


def test_the_doctor_finds_nothing_wrong(server, exported):
    checks = list(diagnose(server.grpc_address, model_repository=exported))
    assert [f"{c.subject}: {c.finding}" for c in checks if not c.passed] == []
