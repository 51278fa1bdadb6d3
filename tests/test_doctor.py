from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from completelook import ContractError
from completelook.clients.doctor import Check, diagnose
from completelook.golden import GoldenRecord, golden_image
from fakes import MODEL_ID, FakeTriton, axis

RECORD = GoldenRecord(MODEL_ID, tuple(axis(0).tolist()), tuple(axis(0).tolist()), 1e-4)


def checks(triton: FakeTriton, repository: Path) -> dict[str, Check]:
    found = diagnose(triton.address, model_repository=repository, timeout_s=10)
    return {check.subject: check for check in found}


def failed(triton: FakeTriton, repository: Path) -> list[str]:
    return [subject for subject, check in checks(triton, repository).items() if not check.passed]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "embed_scene" / "1").mkdir(parents=True)
    RECORD.write(tmp_path)
    return tmp_path


def test_a_healthy_server_passes_every_check(triton: FakeTriton, repository: Path) -> None:
    found = checks(triton, repository)
    assert all(check.passed for check in found.values())
    assert list(found) == [
        "client",
        "server",
        "ready",
        "model backbone",
        "model scene_head",
        "model product_head",
        "model embed_scene",
        "model explain_scene",
        "model embed_product",
        "backbone sizes",
        "categories",
        "model id",
        "golden image",
        "batching",
        "export",
    ]
    assert "fake 1.0" in found["server"].finding
    assert found["backbone sizes"].finding == "regions of 112 channels, pooled vectors of 1280"
    assert "0000000000001234" in found["model id"].finding
    assert "within 0.0e+00" in found["export"].finding


def test_without_a_record_nothing_is_compared(triton: FakeTriton, tmp_path: Path) -> None:
    export = checks(triton, tmp_path)["export"]
    assert export.passed
    assert "not compared" in export.finding


def test_a_server_that_is_down_ends_the_examination() -> None:
    *_, last = diagnose("127.0.0.1:1", model_repository=Path("none"), timeout_s=5)
    assert last.subject == "server"
    assert not last.passed
    assert "completelook serve" in last.finding


def test_a_bad_address_is_a_finding() -> None:
    *_, last = diagnose("localhost", model_repository=Path("none"))
    assert not last.passed
    assert "HOST:PORT" in last.finding


def test_a_missing_model_is_named_and_the_rest_still_examined(
    triton: FakeTriton, repository: Path
) -> None:
    triton.missing_models = {"product_head"}
    triton.ready = False
    found = checks(triton, repository)
    assert [name for name, check in found.items() if not check.passed] == [
        "ready",
        "model product_head",
    ]
    assert "completelook-build export" in found["model product_head"].finding
    assert "categories" in found


def test_another_tensor_contract_is_named(triton: FakeTriton, repository: Path) -> None:
    triton.renamed_output = "POOLED__1"
    found = checks(triton, repository)
    assert "POOLED__1 FP32 [-1]" in found["model backbone"].finding
    assert not found["model backbone"].passed


def test_backbone_and_heads_of_other_sizes_are_found(triton: FakeTriton, repository: Path) -> None:
    triton.product_head_pooled_size = 2048
    sizes = checks(triton, repository)["backbone sizes"]
    assert not sizes.passed
    assert "[1280] in backbone, [1280] in scene_head, [2048] in product_head" in sizes.finding


def test_unreadable_categories_are_a_finding(triton: FakeTriton, repository: Path) -> None:
    triton.categories_text = "oops"
    assert failed(triton, repository) == ["categories"]


def test_heads_of_two_exports_are_found(triton: FakeTriton, repository: Path) -> None:
    triton.product_model_id = MODEL_ID + 1
    assert failed(triton, repository) == ["model id"]


@pytest.mark.parametrize("noise", [1e-2, float("nan")])
def test_embeddings_that_contradict_themselves_are_found(
    triton: FakeTriton, repository: Path, noise: float
) -> None:
    triton.noise = noise
    assert "golden image" in failed(triton, repository)


def test_a_server_of_another_export_is_found(triton: FakeTriton, repository: Path) -> None:
    triton.model_id += 1
    export = checks(triton, repository)["export"]
    assert not export.passed
    assert "restart the server" in export.finding


def test_embeddings_that_differ_from_the_export_are_found(
    triton: FakeTriton, repository: Path
) -> None:
    GoldenRecord(MODEL_ID, tuple(axis(1).tolist()), RECORD.product_embedding, 1e-4).write(
        repository
    )
    assert failed(triton, repository) == ["export"]


@pytest.mark.parametrize(
    ("name", "failing"), [("backbone/1/model.pt", ["export"]), ("backbone/config.pbtxt", [])]
)
def test_a_file_that_is_not_the_exports_is_named(
    triton: FakeTriton, repository: Path, name: str, failing: list[str]
) -> None:
    replace(RECORD, files={name: "0" * 64}).write(repository)
    assert failed(triton, repository) == failing
    assert name in checks(triton, repository)["export"].finding


def test_the_records_tolerance_decides(triton: FakeTriton, repository: Path) -> None:
    near = tuple((axis(0) + np.float32(5e-3)).tolist())
    GoldenRecord(MODEL_ID, near, near, 1e-2).write(repository)
    assert failed(triton, repository) == []


def test_a_failing_inference_is_a_finding(triton: FakeTriton, repository: Path) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.INTERNAL, "Stub process 'x' is not healthy.")
    found = checks(triton, repository)
    assert "restart the server" in found["golden image"].finding


def test_the_golden_image_never_changes() -> None:
    image = golden_image()
    assert image.shape == (224, 224, 3)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 0]
    assert image[223, 223].tolist() == [255, 255, 0]
    assert image[10, 30].tolist() == [34, 11, 255]
    assert int(image.sum()) == 19_142_592


def test_a_record_comes_back_as_it_was_written(repository: Path) -> None:
    assert GoldenRecord.read(repository) == RECORD


@pytest.mark.parametrize("text", ["{", "[]", '{"model_id": 1}'])
def test_a_broken_record_names_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "embed_scene" / "1").mkdir(parents=True)
    (tmp_path / "embed_scene" / "1" / "golden.json").write_text(text)
    with pytest.raises(ContractError, match=r"golden\.json"):
        GoldenRecord.read(tmp_path)
