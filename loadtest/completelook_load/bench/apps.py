"""The scene model behind other servers: `python -m completelook_load.bench.apps NAME FOLDER PORT`.

NAME is `fastapi` or `litserve`, FOLDER a model repository, PORT one of 127.0.0.1.
"""

import base64
import sys
from pathlib import Path
from typing import Annotated, Any

import litserve
import numpy as np
import torch
import uvicorn
from completelook.contract import BACKBONE, IMAGE_SIZE, SCENE_HEAD
from completelook_build.export import VERSION
from fastapi import Body, FastAPI
from numpy.typing import NDArray
from torch import Tensor

from completelook_load.bench.app_server import Answer

_HOST = "127.0.0.1"
# Room for the users of a busy run, and long enough for those who were answered together to be
# back: with 0 it would take what is there, which is one.
_MAX_BATCH_SIZE = 32
_BATCH_TIMEOUT_S = 0.01


class SceneModel:
    """Backbone and scene head: what the ensemble embed_scene is made of."""

    def __init__(self, repository: Path) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._backbone = self._load(repository / BACKBONE.name)
        self._head = self._load(repository / SCENE_HEAD.name)

    def _load(self, model: Path) -> torch.jit.ScriptModule:
        path = model / VERSION / "model.pt"
        module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=self._device)
        return module.eval()

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> list[Answer]:
        """UINT8 [B, 224, 224, 3] -> B answers that can travel as JSON."""
        features = self._backbone(torch.from_numpy(images).to(self._device))
        scenes, contexts, *_ = self._head(*features)  # [B, 128], [B, C, 128]
        rows = zip(scenes.cpu(), contexts.cpu(), strict=True)
        return [{"scene": _encode(scene), "contexts": _encode(context)} for scene, context in rows]


def picture(content: bytes) -> NDArray[np.uint8]:
    """The bytes of a request -> UINT8 [224, 224, 3]."""
    return np.frombuffer(content, np.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE, 3).copy()


def _encode(values: Tensor) -> str:
    return base64.b64encode(values.numpy().tobytes()).decode("ascii")


def fastapi_app(repository: Path) -> FastAPI:
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


class SceneAPI(litserve.LitAPI):  # type: ignore[misc]
    """Pictures come as base64 within JSON: LitServe reads no other kind of bytes."""

    def __init__(self, repository: Path) -> None:
        super().__init__(max_batch_size=_MAX_BATCH_SIZE, batch_timeout=_BATCH_TIMEOUT_S)
        self._repository = repository

    def setup(self, device: str) -> None:  # noqa: ARG002
        self._model = SceneModel(self._repository)

    def decode_request(self, request: dict[str, str], **_: Any) -> NDArray[np.uint8]:
        return picture(base64.b64decode(request["image"]))

    def predict(self, images: NDArray[np.uint8], **_: Any) -> list[Answer]:
        return self._model(images)

    def encode_response(self, output: Answer, **_: Any) -> Answer:
        return output


def main(name: str, repository: str, port: str) -> None:
    """Serve until the process is ended."""
    if name == "fastapi":
        uvicorn.run(fastapi_app(Path(repository)), host=_HOST, port=int(port), log_level="error")
        return
    server = litserve.LitServer(SceneAPI(Path(repository)), accelerator="auto")
    server.run(host=_HOST, port=int(port), log_level="error", generate_client_file=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
