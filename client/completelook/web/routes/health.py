"""Whether the service lives, whether it can answer, and how much it does."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from completelook.web.json_answer import json_answer
from completelook.web.problems import documented
from completelook.web.routes.scenes import service_of

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """That all is well."""

    status: str


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """Whether the service lives: it says nothing of the model."""
    return json_answer({"status": "alive"})


@router.get("/readyz", response_model=Health, responses=documented(502, 503, 504))
async def readyz(request: Request) -> Response:
    """Whether the model answers, and is the one that the catalog was made by.

    Found out by an inference, every five seconds at most.
    """
    trouble = await service_of(request).trouble()
    if trouble is not None:
        raise trouble
    return json_answer({"status": "ready"})


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counts and times, as Prometheus reads them."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
