"""The scene model behind FastAPI: `python -m completelook_load.bench.fastapi_app FOLDER PORT`."""

import sys
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI

from completelook_load.bench.scene_model import Answer, SceneModel, picture


def build_app(repository: Path) -> FastAPI:
    """One route, which calls the model once per request, in one of FastAPI's threads."""
    app, model = FastAPI(), SceneModel(repository)

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict(
        content: Annotated[bytes, Body(media_type="application/octet-stream")],
    ) -> Answer:
        return model(picture(content)[None])[0]

    return app


def main(repository: str, port: str) -> None:
    """Serve until the process is ended."""
    app = build_app(Path(repository))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    main(*sys.argv[1:])
