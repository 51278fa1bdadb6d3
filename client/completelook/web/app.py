"""The application: routes, errors, the guard, and what runs beside them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from completelook.web import page, problems
from completelook.web.guard import OPEN, Guard
from completelook.web.problems import SCHEMA, documented
from completelook.web.routes import ROUTERS
from completelook.web.service import Service, Settings


def create_app(settings: Settings) -> FastAPI:
    """The HTTP service over a catalog, an ASGI application. Raises CatalogError, UsageError."""
    service = Service(settings)
    app = FastAPI(
        title="Complete the Look",
        version=version("completelook"),
        summary="Rank the products of a catalog that complement a scene photo.",
        lifespan=_running,
        # Both pages load their programs from another host.
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(page.router)
    problems.install(app)
    app.add_middleware(Guard, limits=settings.limits, token=settings.token, metrics=service.metrics)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    watching = asyncio.create_task(service.watch_catalog())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await service.close()


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI page, with what every problem looks like."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        schema["components"]["schemas"]["Problem"] = SCHEMA
        service: Service = app.state.service
        if service.settings.token is not None:
            _lock(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _lock(schema: dict[str, Any]) -> None:
    """Say of all operations that want the token that they do."""
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        if path not in OPEN:
            for operation in operations.values():
                operation["security"] = [{"token": []}]
                operation["responses"] |= {"401": documented(401)[401]}
