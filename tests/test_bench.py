"""`make bench`: what is measured in which order, and what is made of it."""

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Lock

import numpy as np
import pytest
import torch
from completelook import CompleteLook
from completelook.errors import ServerError
from completelook.server import EmbeddedServer
from completelook_build.report import code_digest
from completelook_load.bench import contenders as named
from completelook_load.bench.app_server import AppServer, as_bytes, contexts_of
from completelook_load.bench.apps import picture
from completelook_load.bench.contenders import Figure, measure, ratio
from completelook_load.bench.models import load_models
from completelook_load.bench.page import BENCH_MODULES, Benchmark, write_page
from completelook_load.bench.sample import Sample, bursts, closed_loop, repeat, spent_s
from completelook_load.bench.served import product_contenders
from completelook_load.bench.targets import judge

DOCS = Path(__file__).parents[1] / "docs"
_MACHINE = {"GPU": "none", "CPU": "2 cores of a Fast CPU", "memory": "4 GiB"}


def test_every_other_round_goes_the_opposite_way() -> None:
    calls: list[str] = []

    def contender(name: str) -> Sample:
        calls.append(name)
        return Sample(1.0)

    measure({name: lambda name=name: contender(name) for name in "abc"}, rounds=3)  # type: ignore[misc]

    assert "".join(calls) == "abccbaabc"


def test_a_ratio_is_taken_within_each_round() -> None:
    rounds = {
        "one": [Sample(10.0), Sample(40.0), Sample(30.0)],
        "other": [Sample(5.0), Sample(10.0), Sample(10.0)],
    }

    assert ratio(rounds, "one", "other") == Figure(value=3.0, low=2.0, high=4.0)


def test_a_bare_model_is_called_at_least_twice_and_every_image_of_a_batch_counts() -> None:
    calls: list[None] = []

    def call() -> None:
        calls.append(None)
        time.sleep(0.01)

    sample = repeat(call, batch_size=8, duration_s=0)

    assert len(calls) == 2
    assert sample.p50_s is not None
    assert sample.p50_s >= 0.01
    assert 0 < sample.images_per_s <= 8 / 0.01


def test_a_closed_loop_keeps_as_many_in_flight_as_it_should() -> None:
    running, most, lock = 0, 0, Lock()

    def ask() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    sample = closed_loop(ask, in_flight=4, duration_s=0.1)

    assert most == 4
    # A window of n waves may hold the ends of n + 1: at its shortest, of one, those of two.
    assert 0 < sample.images_per_s <= 2 * 4 / 0.01
    assert sample.failures == 0


def test_a_burst_is_asked_together_and_nothing_until_all_of_it_is_answered() -> None:
    together = Barrier(4, timeout=10)  # breaks where a request of a burst is missing
    asked: list[None] = []

    def ask() -> None:
        asked.append(None)
        place = together.wait()
        time.sleep(0.01 * place)
        assert len(asked) % 4 == 0  # the next burst has not begun

    sample = bursts(ask, size=4, duration_s=0.1)

    assert len(asked) >= 8
    assert sample.p50_s is not None
    assert sample.failures == 0


def test_a_closed_loop_counts_failures_beside_answers() -> None:
    calls = iter(range(1000))

    def ask() -> None:
        time.sleep(0.001)
        if next(calls) % 2:
            raise ServerError("refused")

    sample = closed_loop(ask, in_flight=1, duration_s=0.1)

    assert sample.failures == next(calls) // 2 > 0


def _rounds() -> dict[str, list[Sample]]:
    fast, slow = Sample(40.0, 0.02, 0.03), Sample(10.0, 0.1, 0.2)
    return {
        named.at_batch(named.EAGER, 1): [slow, slow],
        named.at_batch(named.TORCHSCRIPT_BF16, 1): [Sample(30.0, 0.02, 0.03)] * 2,
        named.at_batch(named.TORCHSCRIPT_BF16, 8): [Sample(50.0, 0.2, 0.3)] * 2,
        named.in_flight(named.SERVED, 1): [fast, fast],
        named.in_flight(named.SERVED, 16): [fast, fast],
        named.INDEX: [Sample(35.0)] * 2,
        named.in_flight(named.PRODUCTS_SERVED, 16): [fast, fast],
    }


def test_the_served_model_is_judged_against_the_best_batch_of_the_bare_one() -> None:
    judged = {target.text: target for target in judge(_rounds())}

    bare = judged["images/s: Triton, 16 in flight / TorchScript BF16, batch 8"]
    assert bare.found.value == pytest.approx(0.8)
    assert not bare.held
    eager = judged["images/s: Triton, 16 in flight / eager FP32, batch 1"]
    assert eager.found.value == pytest.approx(4.0)
    assert eager.held
    alone = judged["p50: Triton, 1 in flight / TorchScript BF16, batch 1"]
    assert alone.is_ceiling
    assert alone.held
    assert not judged["images/s: completelook index / Triton, products, 16 in flight"].held


def test_the_page_keeps_its_text_and_gives_ratios_before_figures(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(
        "Mine.\n<!-- begin machines -->\nearlier figures\n<!-- end machines -->\nToo.\n"
    )
    benchmark = Benchmark(_MACHINE, None, _rounds())

    benchmark.write(tmp_path)
    assert Benchmark.read(tmp_path / "2-cores-of-a-fast-cpu.json") == benchmark
    write_page(page, tmp_path)

    text = page.read_text()
    assert text.startswith("Mine.\n")
    assert text.endswith("Too.\n")
    assert "earlier figures" not in text
    assert text.index("| ratio |") < text.index("| Triton, 16 in flight | 40.0 (40.0 to 40.0)")
    assert "No NVIDIA GPU" in text


def test_the_app_and_its_client_agree_on_a_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)

    assert (picture(as_bytes(image)["body"]) == image).all()


def _stands_still(process: int) -> bool:
    """Whether a process comes to a stop, which takes it a moment."""
    for _ in range(200):
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return True
        time.sleep(0.01)
    return False


def test_an_app_answers_as_triton_does_and_stands_still_while_others_are_measured(
    exported: Path, server: EmbeddedServer
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    with AppServer("fastapi", exported, as_bytes, {}) as app:
        assert _stands_still(app._process.pid)
        with app.running():
            answer = app.ask(image)
        assert _stands_still(app._process.pid)
        process = app._process

    assert process.poll() is not None
    with CompleteLook(server.grpc_address) as look:
        expected = look.embed_scene(image).contexts
    np.testing.assert_allclose(contexts_of(answer), expected, atol=1e-4)


def test_the_repositorys_page_is_what_its_figures_say(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    shutil.copyfile(DOCS / "benchmarks.md", page)
    write_page(page, DOCS / "benchmarks")
    assert page.read_text() == (DOCS / "benchmarks.md").read_text(), (
        "docs/benchmarks.md is not what docs/benchmarks/*.json say, or does not say that code has "
        "changed since: run `make results-page`"
    )


def test_a_page_says_that_earlier_code_made_its_figures(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin machines -->\n<!-- end machines -->\n")
    benchmark = Benchmark(_MACHINE, None, _rounds())
    benchmark.write(tmp_path)
    write_page(page, tmp_path)
    assert "earlier code" not in page.read_text()
    replace(benchmark, made_by={"code": "0" * 16, "commit": "abc1234"}).write(tmp_path)
    write_page(page, tmp_path)
    assert "**Made by earlier code (commit abc1234)**" in page.read_text()
    assert "`make bench`" in page.read_text()


def test_the_servers_backend_decides_the_figures() -> None:
    assert code_digest(*BENCH_MODULES) != code_digest(*BENCH_MODULES[:-1])


def test_the_light_backbone_is_judged_against_the_full_one_and_against_itself_unserved() -> None:
    rounds = _rounds()
    bare = named.light(named.TORCHSCRIPT_BF16)
    rounds[named.at_batch(bare, 1)] = [Sample(100.0, 0.010, 0.011)] * 2
    rounds[named.at_batch(bare, 32)] = [Sample(200.0, 0.160, 0.170)] * 2
    rounds[named.light(named.in_flight(named.SERVED, 1))] = [Sample(70.0, 0.013, 0.02)] * 2
    rounds[named.light(named.in_flight(named.SERVED, 16))] = [Sample(180.0, 0.1, 0.2)] * 2
    rounds[named.light(named.INDEX)] = [Sample(147.0)] * 2

    targets = judge(rounds)

    found = {target.text: (round(target.found.value, 9), target.held) for target in targets[-4:]}
    light = "EfficientNet-Lite0: "
    assert found == {
        f"images/s: {light}Triton, 16 in flight / Triton, 16 in flight": (4.5, False),
        f"images/s: {light}Triton, 16 in flight / {light}TorchScript BF16, batch 32": (0.9, True),
        f"p50: {light}Triton, 1 in flight / {light}TorchScript BF16, batch 1": (1.3, True),
        f"images/s: {light}completelook index / completelook index": (4.2, True),
    }
    assert len(targets) == len(judge(_rounds())) + 4


def test_every_round_embeds_all_products_anew(
    look: CompleteLook, scene: Path, tmp_path: Path
) -> None:
    products = tmp_path / "products.csv"
    products.write_text(f"id,category,image\na,Decor|Rugs,{scene.name}\n")
    run = product_contenders(look, [], products, tmp_path / "catalog.arrow", 0)[named.INDEX]

    assert run().images_per_s > 0
    assert run().images_per_s > 0


def test_the_other_model_has_the_demos_heads_on_the_other_backbone(
    small_showroom_model: Path,
) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8))
    models = load_models(small_showroom_model, images)

    assert models.full.network.card.family == "resnet50"
    assert models.light.network.card.source == "efficientnet-lite0"
    assert models.light.config.channels == models.light.network.card.channels
    assert models.light.config.categories == models.full.config.categories
    _, pooled, _ = models.light.backbone()(torch.from_numpy(np.stack(images[:1])))
    assert models.light.heads.embed_pooled(pooled).shape == (1, 128)


def test_what_a_process_spends_is_told_by_its_part(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
    stub = tmp_path / "triton_python_backend_stub"
    stub.symlink_to(sys.executable)
    between = ["region", "1", "1", "1", "folder"]
    arguments = [str(stub), "-c", burn, *between, "backbone_0_1", "further"]
    with spent_s() as spent:
        child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"done\n"
    child.communicate(b"\n")

    assert spent["backbone"] >= 0.25
    assert set(spent) == {"client", "backbone"}


def test_the_page_says_what_an_image_costs_each_process(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("<!-- begin machines -->\n<!-- end machines -->\n")
    spent = {"client": 0.001, "tritonserver": 0.0005, "backbone": 0.004, "other servers": 1.0}
    rounds = _rounds() | {
        named.in_flight(named.SERVED, 16): [Sample(100.0, 0.1, 0.2, 0, spent)] * 2
    }
    Benchmark(_MACHINE, None, rounds).write(tmp_path)
    write_page(page, tmp_path)

    assert "| Triton, 16 in flight | 1.00 | 0.50 | 4.00 | 5.50 |" in page.read_text()
