import socket
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import grpc
import numpy as np
import pytest
from completelook import (
    Catalog,
    CategoryError,
    CompleteLook,
    ContractError,
    ImageError,
    ImageSource,
    ModelMismatch,
    NotCalibrated,
    ServerError,
    ServerOverloaded,
    ServerTimeout,
    ServerUnavailable,
    UsageError,
    load_image,
)
from completelook.clients import served_model
from fakes import (
    CALIBRATION,
    CATEGORIES,
    MODEL_ID,
    FakeTriton,
    axis,
    expected_distances,
    make_catalog,
    picture,
)


def test_scene_embedding_is_the_servers_answer(look: CompleteLook) -> None:
    scene = look.embed_scene(picture(3))
    np.testing.assert_array_equal(scene.embedding, axis(3))
    np.testing.assert_array_equal(scene.contexts[1], (axis(2) + axis(3)) / 2)
    assert scene.contexts.shape == (len(CATEGORIES), 128)
    assert scene.model_id == MODEL_ID
    assert scene.attention is None
    assert scene.regions is None


def test_a_tensor_is_sent_as_it_is(look: CompleteLook, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = load_image(picture(3))

    def read(*_: object) -> None:
        raise AssertionError("a tensor was read anew")

    monkeypatch.setattr("completelook.clients.client.load_image", read)
    np.testing.assert_array_equal(look.embed_scene(tensor).embedding, axis(3))
    np.testing.assert_array_equal(look.embed_product(tensor).embedding, axis(3))


def test_scene_with_regions_carries_attention_and_regions(look: CompleteLook) -> None:
    scene = look.embed_scene(picture(3), regions=True)
    assert scene.attention is not None
    assert scene.regions is not None
    assert scene.attention.shape == (len(CATEGORIES), 14, 14)
    assert scene.attention[2, 0, 4] == 0.5
    np.testing.assert_array_equal(scene.regions[140], axis(12))


def test_product_embedding_is_the_servers_answer(look: CompleteLook) -> None:
    product = look.embed_product(picture(7))
    np.testing.assert_array_equal(product.embedding, axis(7))
    assert product.model_id == MODEL_ID


def test_products_come_back_in_the_order_of_their_sources(look: CompleteLook) -> None:
    embeddings = look.embed_products([picture(red) for red in range(20)], in_flight=6)
    np.testing.assert_array_equal(embeddings, np.stack([axis(red) for red in range(20)]))


def test_no_products_make_an_empty_matrix(look: CompleteLook) -> None:
    assert look.embed_products([]).shape == (0, 128)


def test_products_are_in_flight_together(look: CompleteLook, triton: FakeTriton) -> None:
    # The fake answers nobody before four requests have come in.
    triton.gate = Barrier(4)
    assert look.embed_products([picture(red) for red in range(8)], in_flight=4).shape == (8, 128)


def test_a_broken_picture_stops_the_rest(look: CompleteLook, triton: FakeTriton) -> None:
    sources: list[ImageSource] = [b"not a picture", *[picture(red) for red in range(50)]]
    with pytest.raises(ImageError):
        look.embed_products(sources, in_flight=2)
    assert triton.calls["ModelInfer"] < 10


def test_products_of_two_models_are_not_mixed(look: CompleteLook, triton: FakeTriton) -> None:
    def sources():
        yield picture(1)
        yield picture(2)
        triton.model_id += 1
        yield picture(3)

    with pytest.raises(ContractError, match="changed between two products"):
        look.embed_products(sources(), in_flight=1)


def test_categories_are_read_once(look: CompleteLook, triton: FakeTriton) -> None:
    assert look.categories() == CATEGORIES
    assert look.categories() == CATEGORIES
    assert triton.calls["ModelConfig"] == 1


@pytest.mark.parametrize("asked_before", [False, True])
def test_categories_are_read_again_after_a_reload(
    look: CompleteLook, triton: FakeTriton, asked_before: bool
) -> None:
    if asked_before:
        look.embed_scene(picture(1))
    assert look.categories() == CATEGORIES
    triton.model_id, triton.categories = MODEL_ID + 1, ("A", "B", "C")
    look.embed_scene(picture(1))
    assert look.categories() == ("A", "B", "C")


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, 2]"])
def test_unreadable_categories_name_the_way_out(
    look: CompleteLook, triton: FakeTriton, text: str
) -> None:
    triton.categories_text = text
    with pytest.raises(ContractError, match="export the model again"):
        look.categories()


def test_rank_puts_the_nearest_product_first(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    matches = look.rank(scene, catalog, category="rugs", top=3)
    # The rug of the scene's own color, then the two that the regions of rugs look like.
    assert [match.id for match in matches] == ["rug-3", "rug-0", "rug-1"]
    assert [match.rank for match in matches] == [1, 2, 3]
    for match, red in zip(matches, (3, 0, 1), strict=True):
        assert (match.global_distance, match.local_distance) == expected_distances(3, red, 0)
        assert match.distance == (match.global_distance + match.local_distance) / 2


def test_a_scene_without_categories_is_ranked_in_all_that_the_catalog_holds(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    ranked = look.rank_scene(scene, catalog, top=2)
    assert list(ranked) == [CATEGORIES[0], CATEGORIES[3]]
    for name, matches in ranked.items():
        assert [match.category for match in matches] == [name, name]
        assert [match.rank for match in matches] == [1, 2]


def test_a_scene_is_ranked_in_the_categories_asked_for_in_their_order(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    ranked = look.rank_scene(scene, catalog, ["chairs", "Rugs"], top=1)
    assert [(name, found.id) for name, [found] in ranked.items()] == [
        (CATEGORIES[3], "chair-3"),
        (CATEGORIES[0], "rug-3"),
    ]


def test_rank_takes_an_embedded_scene_without_asking_again(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton
) -> None:
    embedded = look.embed_scene(picture(4))
    assert look.rank(embedded, catalog, category="Chairs")[0].id == "chair-4"
    assert triton.calls["ModelInfer"] == 1


def test_rank_refuses_a_catalog_of_another_model(
    look: CompleteLook, tmp_path: Path, scene: Path
) -> None:
    other = Catalog.open(make_catalog(tmp_path / "other.arrow", model_id=MODEL_ID + 1))
    with pytest.raises(ModelMismatch, match="0000000000001234"):
        look.rank(scene, other, CATEGORIES[0])


def test_an_unknown_category_costs_no_inference(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path
) -> None:
    with pytest.raises(CategoryError, match="Sofas"):
        look.rank(scene, catalog, category="Sofas")
    assert triton.calls["ModelInfer"] == 0


def test_a_calibrated_model_gives_each_match_its_compatibility(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path
) -> None:
    triton.calibration_text = CALIBRATION
    matches = look.rank(scene, catalog, category="rugs", top=4)
    assert [match.compatibility for match in matches] == pytest.approx([0.9, 0.5, 0.5, 0.1])
    kept = look.rank(scene, catalog, category="rugs", min_compatibility=0.5)
    assert [match.id for match in kept] == ["rug-3", "rug-0", "rug-1"]
    assert look.rank(scene, catalog, "rugs", min_compatibility=0.91) == []
    assert triton.calls["ModelConfig"] == 1


def test_the_calibration_is_read_again_after_a_reload(
    look: CompleteLook, tmp_path: Path, triton: FakeTriton, scene: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    before = Catalog.open(make_catalog(first / "c.arrow"))
    after = Catalog.open(make_catalog(second / "c.arrow", model_id=MODEL_ID + 1))
    triton.calibration_text = CALIBRATION
    assert look.rank(scene, before, "rugs", top=1)[0].compatibility == pytest.approx(0.9)
    triton.calibration_text, triton.model_id = None, MODEL_ID + 1
    assert look.rank(scene, after, "rugs", top=1)[0].compatibility is None


def test_a_map_calibrated_anew_under_the_same_model_is_noticed(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path, monkeypatch
) -> None:
    triton.calibration_text = CALIBRATION
    assert look.rank(scene, catalog, "rugs")[0].compatibility == pytest.approx(0.9)
    triton.calibration_text = CALIBRATION.replace("0.9", "0.8")
    assert look.rank(scene, catalog, "rugs")[0].compatibility == pytest.approx(0.9)
    monkeypatch.setattr(served_model, "MOST_AGE_S", 0)
    assert look.rank(scene, catalog, "rugs")[0].compatibility == pytest.approx(0.8)


def test_who_waits_for_a_configuration_holds_up_no_other_request(
    look: CompleteLook, triton: FakeTriton
) -> None:
    triton.config_gate = Event()
    with ThreadPoolExecutor(3) as pool:
        readings: list[Future[Any]] = [pool.submit(look.calibration), pool.submit(look.categories)]
        pool.submit(look.embed_product, picture(1)).result(timeout=8)
        assert not any(reading.done() for reading in readings)
        triton.config_gate.set()
        assert [reading.result() for reading in readings] == [None, CATEGORIES]


def test_a_configuration_that_could_not_be_read_is_asked_for_again(
    look: CompleteLook, triton: FakeTriton
) -> None:
    triton.fail("ModelConfig", grpc.StatusCode.INTERNAL, "out of memory", times=1)
    with pytest.raises(ServerError, match="out of memory"):
        look.categories()
    assert look.categories() == CATEGORIES


def test_a_minimum_of_an_uncalibrated_model_names_the_way_out(
    look: CompleteLook, catalog: Catalog, scene: Path
) -> None:
    with pytest.raises(NotCalibrated, match=r"completelook-build calibrate.*export"):
        look.rank(scene, catalog, "rugs", min_compatibility=0.5)


@pytest.mark.parametrize("minimum", [-0.1, 1.1, float("nan")])
def test_a_minimum_outside_0_to_1_is_refused(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path, minimum: float
) -> None:
    triton.calibration_text = CALIBRATION
    with pytest.raises(UsageError, match=str(minimum)):
        look.rank(scene, catalog, "rugs", min_compatibility=minimum)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"distances": [2, 1]}', "null"])
def test_an_unreadable_calibration_names_the_way_out(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path, text: str
) -> None:
    triton.calibration_text = text
    with pytest.raises(ContractError, match="completelook-build export"):
        look.rank(scene, catalog, "rugs")


@pytest.mark.parametrize("top", [0, -1])
def test_a_top_below_1_is_refused_before_anything_is_sent(
    look: CompleteLook, catalog: Catalog, triton: FakeTriton, scene: Path, top: int
) -> None:
    for ask in (
        lambda: look.rank(scene, catalog, "rugs", top=top),
        lambda: look.rank_scene(scene, catalog, top=top),
        lambda: list(look.rank_scenes([str(scene)], catalog, top=top)),
    ):
        with pytest.raises(UsageError, match=f"top is {top}, expected at least 1"):
            ask()
    assert not triton.calls


def test_scenes_are_ranked_in_their_order(look: CompleteLook, catalog: Catalog, tmp_path) -> None:
    paths = [tmp_path / f"{red}.png" for red in range(5)]
    for red, path in enumerate(paths):
        picture(red).save(path)
    ranked = list(look.rank_scenes([str(path) for path in paths], catalog, categories=["Rugs"]))
    assert [scene.source for scene in ranked] == [str(path) for path in paths]
    firsts = [scene.matches[CATEGORIES[0]][0].id for scene in ranked]
    assert firsts == [f"rug-{red}" for red in range(5)]


OVERLOADED = [
    pytest.param("[request id: <id>] Exceeds maximum queue size", id="queue full"),
    pytest.param("Request timeout expired", id="queued too long"),
]


@pytest.mark.parametrize("details", OVERLOADED)
def test_a_short_overload_is_retried(look: CompleteLook, triton: FakeTriton, details: str) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, details, times=2)
    np.testing.assert_array_equal(look.embed_product(picture(5)).embedding, axis(5))
    assert triton.calls["ModelInfer"] == 3


@pytest.mark.parametrize("details", OVERLOADED)
def test_a_lasting_overload_is_reported_after_few_attempts(
    look: CompleteLook, triton: FakeTriton, details: str
) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, details)
    with pytest.raises(ServerOverloaded, match="try again later"):
        look.embed_product(picture(5))
    assert triton.calls["ModelInfer"] <= 4


def test_without_retries_the_first_refusal_is_raised(triton: FakeTriton) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", times=1)
    with CompleteLook(triton.address, timeout_s=10, retries=False) as look:
        with pytest.raises(ServerOverloaded):
            look.embed_product(picture(1))
        assert triton.calls["ModelInfer"] == 1
        look.embed_product(picture(1))


def test_retries_stop_when_most_requests_fail(look: CompleteLook, triton: FakeTriton) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    for _ in range(5):
        with pytest.raises(ServerOverloaded):
            look.embed_product(picture(5))
    # Five calls of four attempts would be twenty: the budget is spent after the first few.
    assert triton.calls["ModelInfer"] < 12


@pytest.mark.parametrize(
    ("code", "details", "error", "way_out"),
    [
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", ServerTimeout, "send less at once"),
        ("NOT_FOUND", "unknown model: 'embed_scene'", ContractError, "completelook-build export"),
        ("NOT_FOUND", "'embed_scene' has no available versions", ServerUnavailable, "starting or"),
        ("INVALID_ARGUMENT", "unexpected shape", ContractError, "completelook doctor"),
        (
            "INTERNAL",
            "Stub process 'backbone_0' is not healthy.",
            ServerUnavailable,
            "restart the server",
        ),
        ("UNAVAILABLE", "This protocol is restricted, expecting", ServerError, "restriction"),
        ("UNAVAILABLE", "Socket closed", ServerUnavailable, "still runs"),
        ("INTERNAL", "out of memory", ServerError, "its own log"),
    ],
)
def test_each_status_becomes_an_error_with_a_way_out(
    look: CompleteLook,
    triton: FakeTriton,
    code: str,
    details: str,
    error: type[ServerError],
    way_out: str,
) -> None:
    triton.fail("ModelInfer", grpc.StatusCode[code], details)
    with pytest.raises(ServerError, match=way_out) as caught:
        look.embed_scene(picture(1))
    assert type(caught.value) is error
    assert triton.address in str(caught.value)


def test_an_answer_that_takes_too_long_is_given_up(triton: FakeTriton) -> None:
    triton.gate = Barrier(2)
    with (
        CompleteLook(triton.address, timeout_s=0.2) as look,
        pytest.raises(ServerTimeout, match=r"within 0\.2 s"),
    ):
        look.embed_scene(picture(1))
    triton.gate.abort()


def test_outputs_of_another_model_are_refused(look: CompleteLook, triton: FakeTriton) -> None:
    triton.renamed_output = "CONTEXT_EMBEDDINGS"
    with pytest.raises(ContractError, match="nothing for CONTEXT_EMBEDDINGS"):
        look.embed_scene(picture(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_not_finite_is_refused_by_its_model_and_output(
    look: CompleteLook, triton: FakeTriton, value: float
) -> None:
    triton.noise = value
    with pytest.raises(ContractError, match=r"embed_scene.*not finite for SCENE_EMBEDDING"):
        look.embed_scene(picture(1))
    with pytest.raises(ContractError, match=r"embed_product.*not finite for PRODUCT_EMBEDDING"):
        look.embed_product(picture(1))


def test_nothing_at_the_address_names_the_command_that_starts_a_server() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with (
        CompleteLook(address) as look,
        pytest.raises(ServerUnavailable, match="completelook serve"),
    ):
        look.categories()


def test_an_http_port_is_told_from_a_server_that_is_down() -> None:
    class Quiet(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            with (
                CompleteLook(f"127.0.0.1:{server.server_port}") as look,
                pytest.raises(ServerUnavailable, match="not its HTTP port 8000"),
            ):
                look.categories()
        finally:
            server.shutdown()
            thread.join()


def test_another_grpc_service_is_no_triton() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with (
            CompleteLook(f"127.0.0.1:{port}") as look,
            pytest.raises(ServerUnavailable, match="is not Triton"),
        ):
            look.embed_scene(picture(1))
    finally:
        server.stop(grace=None).wait()


@pytest.mark.parametrize("server", ["localhost", "http://localhost:8001", "", "host:port"])
def test_an_address_without_a_port_is_refused_at_once(server: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        CompleteLook(server)
