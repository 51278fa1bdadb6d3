"""The scene model behind LitServe: `python -m completelook_load.bench.lit_app REPOSITORY PORT`."""

import base64
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from completelook_load.bench.scene_model import Answer, SceneModel, picture

# Room for the users of a busy run, and long enough for those who were answered together to be
# back: with 0 it would take what is there, which is one.
_MAX_BATCH_SIZE = 32
_BATCH_TIMEOUT_S = 0.01


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


def main(repository: str, port: str) -> None:
    """Serve until the process is ended."""
    server = litserve.LitServer(SceneAPI(Path(repository)), accelerator="auto")
    server.run(host="127.0.0.1", port=int(port), log_level="error", generate_client_file=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
