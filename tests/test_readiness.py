"""Whether a server that says it is ready gives the answers of the export: the golden image."""

from dataclasses import replace

import grpc
import pytest
from completelook.errors import EmbeddedServerError
from completelook.golden import GoldenRecord
from completelook.server import EmbeddedServer
from completelook.server.readiness import infer_golden_image
from completelook_build.export import export_model
from fakes import MODEL_ID, axis
from planted import small_model

# The golden image's first pixel has the red value 0.
RECORD = GoldenRecord(MODEL_ID, tuple(axis(0).tolist()), tuple(axis(0).tolist()), 1e-4)
OTHER = tuple(axis(1).tolist())


def test_answers_of_the_export_are_ready(triton) -> None:
    infer_golden_image(triton.address, RECORD)
    assert triton.calls["ModelInfer"] == 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (replace(RECORD, scene_embedding=OTHER), r"differ by 1\.0e\+00 .*build export"),
        (replace(RECORD, product_embedding=OTHER), "at most 1e-04"),
        (replace(RECORD, model_id=7), "0000000000001234, but the export recorded 0000000000000007"),
    ],
)
def test_other_answers_than_the_exports_are_not_ready(triton, record, message: str) -> None:
    with pytest.raises(EmbeddedServerError, match=message):
        infer_golden_image(triton.address, record)


def test_answer_that_is_no_number_is_not_ready(triton) -> None:
    triton.noise = float("nan")
    with pytest.raises(EmbeddedServerError, match="differ by nan"):
        infer_golden_image(triton.address, RECORD)


def test_model_that_fails_on_the_golden_image_is_named(triton) -> None:
    triton.fail("ModelInfer", grpc.StatusCode.INTERNAL, "the weights are gone")
    with pytest.raises(EmbeddedServerError, match="'embed_scene' fails on the golden image: the w"):
        infer_golden_image(triton.address, RECORD)


@pytest.mark.slow
def test_weights_damaged_before_their_digest_was_taken_are_not_served(tmp_path) -> None:
    export_model(small_model(3), tmp_path)
    record = GoldenRecord.read(tmp_path)
    assert record is not None
    export_model(small_model(4), tmp_path)
    served = GoldenRecord.read(tmp_path)
    assert served is not None
    replace(served, product_embedding=record.product_embedding).write(tmp_path)
    with pytest.raises(EmbeddedServerError, match="the golden image's embeddings differ by"):
        EmbeddedServer(tmp_path, grpc_port=0, metrics_port=0).start()
