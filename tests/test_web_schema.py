"""Requests made up from the OpenAPI page: no server error, no answer that it does not describe."""

import random
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from completelook.web import Limits, Settings
from fakes import CALIBRATION, FakeTriton
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from web_service import serving

# A category that is well-formed may yet be unknown; a form's number is a text as any other.
NOT_OURS: list[Any] = [positive_data_acceptance, negative_data_rejection]
# Of each operation: a few seconds in all.
EXAMPLES = 20
# What a request that is made up says too much of to be answered with more than 422.
PARTICULAR = (
    *("where", "group_by", "must", "price_column", "rules", "min_compatibility"),
    *("ignore", "focus", "budget", "more"),
)


@pytest.fixture
def web(triton: FakeTriton, catalog_path: Path, tmp_path: Path):
    triton.calibration_text = CALIBRATION
    limits = Limits(upload_bytes=100_000)
    place = Settings(str(catalog_path), triton.address, limits=limits, scenes=tmp_path / "scenes")
    with serving(place) as client:
        yield client


def made_likely(body: dict[str, Any], token: str, draw: random.Random) -> None:
    """Let a question be about a scene that is known, and mostly about categories that are."""
    body.pop("url", None)
    body.pop("image", None)
    body["scene"] = token
    for name in PARTICULAR:
        if draw.random() < 0.8:
            body.pop(name, None)
    if draw.random() < 0.8:
        body["category"] = ["Rugs"]
    if "product" in body:
        body |= {"product": ["rug-1"]}
        body.pop("category", None)


def test_made_up_requests_meet_no_server_error_and_answers_are_as_described(
    web: httpx.Client, scene: Path
) -> None:
    token = web.post("/v1/rank", files={"image": scene.read_bytes()}).json()["scene"]
    schema = schemathesis.openapi.from_dict(web.get("/openapi.json").json())
    draw, seen = random.Random(0), set()

    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and draw.random() < 0.7:
            made_likely(case.body, token, draw)
        if "token" in case.path_parameters and draw.random() < 0.5:
            case.path_parameters["token"] = token
        answer = case.call(base_url=str(web.base_url))
        case.validate_response(answer, excluded_checks=NOT_OURS)
        seen.add((case.operation.label, answer.status_code))

    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        made_up = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]
        examples(given(case=st.one_of(made_up))(lambda case: ask(case)))()
    assert {label for label, status in seen if status == 200} >= {
        "POST /v1/rank",
        "POST /v1/look",
        "POST /v1/explain",
        "GET /v1/categories",
        "GET /v1/scenes/{token}/picture",
    }


def examples(test: Any) -> Any:
    """Few enough for a suite, the same ones each time."""
    return settings(
        max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=[*HealthCheck]
    )(test)
