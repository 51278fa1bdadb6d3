"""The client for event loops, against the fake and, for its gRPC, the real server."""

import asyncio
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Event, Thread
from typing import Any

import grpc
import numpy as np
import pytest
from completelook import (
    AsyncCompleteLook,
    Catalog,
    CompleteLook,
    ContractError,
    ImageError,
    NotCalibrated,
    ServerOverloaded,
    ServerUnavailable,
    UsageError,
)
from completelook.server import EmbeddedServer
from fakes import CALIBRATION, CATEGORIES, FakeTriton, axis, picture

FULL = "[request id: <id_unknown>] Exceeds maximum queue size"


def ask(server, question, timeout_s=10.0):
    """What a question, a function of a client, is answered in a fresh event loop."""

    async def asking():
        async with AsyncCompleteLook(server, timeout_s=timeout_s) as look:
            return await question(look)

    return asyncio.run(asking())


async def until(happened):
    async with asyncio.timeout(8):  # less than the fake's gate and the client allow
        while not happened():
            await asyncio.sleep(0.01)


def test_scenes_and_products_are_the_servers_answers(triton: FakeTriton) -> None:
    scene = ask(triton.address, lambda look: look.embed_scene(picture(3), regions=True))
    np.testing.assert_array_equal(scene.embedding, axis(3))
    np.testing.assert_array_equal(scene.regions[140], axis(12))
    product = ask(triton.address, lambda look: look.embed_product(picture(7)))
    np.testing.assert_array_equal(product.embedding, axis(7))


def test_products_come_back_in_the_order_of_their_sources(triton: FakeTriton) -> None:
    sources = [picture(red) for red in range(20)]
    embeddings = ask(triton.address, lambda look: look.embed_products(sources, in_flight=6))
    np.testing.assert_array_equal(embeddings, np.stack([axis(red) for red in range(20)]))
    assert ask(triton.address, lambda look: look.embed_products([])).shape == (0, 128)


def test_products_are_in_flight_together(triton: FakeTriton) -> None:
    triton.gate = Barrier(4)
    sources = [picture(red) for red in range(8)]
    assert ask(triton.address, lambda look: look.embed_products(sources, in_flight=4)).shape == (
        8,
        128,
    )


def test_ranks_are_those_of_the_other_client(
    triton: FakeTriton, look: CompleteLook, catalog: Catalog
) -> None:
    triton.calibration_text = CALIBRATION
    wanted: dict[str, Any] = {"category": "Rugs", "top": 3, "min_compatibility": 0.2}
    matches = ask(triton.address, lambda client: client.rank(picture(3), catalog, **wanted))
    assert matches == look.rank(picture(3), catalog, **wanted)
    assert matches[0].id == "rug-3"
    looks = ask(triton.address, lambda client: client.complete(picture(3), catalog, ["Rugs"]))
    assert looks == look.complete(picture(3), catalog, ["Rugs"])
    assert looks.looks[0].matches[0].id == "rug-3"


def test_without_a_calibration_no_compatibility_can_be_asked_for(
    triton: FakeTriton, catalog: Catalog
) -> None:
    with pytest.raises(NotCalibrated):
        ask(
            triton.address, lambda look: look.rank_scene(picture(3), catalog, min_compatibility=0.5)
        )


def test_categories_are_read_once_and_again_after_a_reload(triton: FakeTriton) -> None:
    async def question(look):
        await look.embed_scene(picture(1))
        first, second = await asyncio.gather(look.categories(), look.categories())
        assert first == second == CATEGORIES
        assert triton.calls["ModelConfig"] == 1
        triton.model_id, triton.categories = triton.model_id + 1, ("A", "B")
        await look.embed_scene(picture(1))
        return await look.categories()

    assert ask(triton.address, question) == ("A", "B")


def test_a_cancelled_question_for_the_categories_leaves_the_others_waiting(
    triton: FakeTriton,
) -> None:
    triton.config_gate = Event()

    async def question(look):
        first = asyncio.create_task(look.categories())
        await until(lambda: triton.calls["ModelConfig"])
        second = asyncio.create_task(look.categories())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        triton.config_gate.set()
        return await second

    assert ask(triton.address, question) == CATEGORIES
    assert triton.calls["ModelConfig"] == 1


def test_scenes_are_ranked_in_their_order_as_by_the_other_client(
    triton: FakeTriton, look: CompleteLook, catalog: Catalog, tmp_path
) -> None:
    paths = [str(tmp_path / f"{red}.png") for red in range(5)]
    for red, path in enumerate(paths):
        picture(red).save(path)

    async def question(client):
        return [scene async for scene in client.rank_scenes(paths, catalog, ["Rugs"], top=2)]

    ranked = ask(triton.address, question)
    assert [scene.source for scene in ranked] == paths
    expected = look.rank_scenes(paths, catalog, ["Rugs"], top=2)
    assert [scene.matches for scene in ranked] == [scene.matches for scene in expected]


def test_a_refusal_is_tried_again_and_then_an_error(triton: FakeTriton) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, FULL, times=1)
    product = ask(triton.address, lambda look: look.embed_product(picture(7)))
    np.testing.assert_array_equal(product.embedding, axis(7))
    triton.fail("ModelInfer", grpc.StatusCode.UNAVAILABLE, FULL)
    with pytest.raises(ServerOverloaded, match="overloaded and refused"):
        ask(triton.address, lambda look: look.embed_product(picture(7)))


def test_a_broken_picture_stops_the_rest(triton: FakeTriton) -> None:
    sources = [b"not a picture", *[picture(red) for red in range(50)]]
    with pytest.raises(ImageError):
        ask(triton.address, lambda look: look.embed_products(sources, in_flight=2))
    assert triton.calls["ModelInfer"] < 10


def test_another_kind_of_model_is_a_contract_error(triton: FakeTriton) -> None:
    triton.renamed_output = "PRODUCT_EMBEDDING"
    with pytest.raises(ContractError, match="PRODUCT_EMBEDDING"):
        ask(triton.address, lambda look: look.embed_product(picture(7)))


def test_nobody_there_is_said_as_by_the_other_client() -> None:
    with pytest.raises(ServerUnavailable, match="nothing answers"):
        ask("127.0.0.1:9", lambda look: look.categories())
    with pytest.raises(UsageError, match="HOST:PORT"):
        AsyncCompleteLook("localhost")


def test_a_cancelled_task_cancels_its_request_and_leaves_the_client_usable(
    triton: FakeTriton,
) -> None:
    triton.gate = Barrier(2)  # a single request waits at it

    async def question(look):
        task = asyncio.create_task(look.embed_product(picture(1)))
        await until(lambda: triton.calls["ModelInfer"])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: triton.ended["ModelInfer"])
        triton.gate.abort()
        triton.gate = None
        return await look.embed_product(picture(2))

    np.testing.assert_array_equal(ask(triton.address, question).embedding, axis(2))


def test_the_real_server_answers_both_clients_alike(server: EmbeddedServer) -> None:
    with CompleteLook(server.grpc_address) as look:
        expected = look.embed_scene(picture(3), regions=True)
    scene = ask(server.grpc_address, lambda look: look.embed_scene(picture(3), regions=True), 60.0)
    np.testing.assert_allclose(scene.embedding, expected.embedding, atol=1e-5)
    np.testing.assert_allclose(scene.contexts, expected.contexts, atol=1e-5)
    assert scene.model_id == expected.model_id


class Drip(BaseHTTPRequestHandler):
    """A host that never ends an answer, nor its silence."""

    ended = Event()

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while not self.ended.wait(0.05):
                self.wfile.write(b"x")

    def log_message(self, *_):
        pass


def test_pictures_that_drip_hold_up_none_that_is_at_hand(triton: FakeTriton, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Drip, "ended", Event())
    host = ThreadingHTTPServer(("127.0.0.1", 0), Drip)
    thread = Thread(target=host.serve_forever)
    thread.start()

    async def question(look):
        url = f"http://127.0.0.1:{host.server_port}/"
        # More than there are threads of any kind, and than may be in flight.
        drips = [asyncio.create_task(look.embed_product(f"{url}{n}.png")) for n in range(100)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            product = await look.embed_product(picture(7))
        assert not any(drip.done() for drip in drips)
        Drip.ended.set()
        await asyncio.gather(*drips, return_exceptions=True)
        return product

    try:
        np.testing.assert_array_equal(ask(triton.address, question).embedding, axis(7))
    finally:
        Drip.ended.set()
        host.shutdown()
        thread.join()
        host.server_close()
