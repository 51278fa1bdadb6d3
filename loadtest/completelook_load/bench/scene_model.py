"""The exported models in a process without Triton, as an app of one's own would hold them."""

import base64
from pathlib import Path

import numpy as np
import torch
from completelook.contract import BACKBONE, EMBEDDING_SIZE, IMAGE_SIZE, SCENE_HEAD
from completelook_build.export.export import VERSION
from numpy.typing import NDArray
from torch import Tensor

Answer = dict[str, str]


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


def contexts_of(answer: Answer) -> NDArray[np.float32]:
    """The context embeddings [C, 128] of an answer."""
    return np.frombuffer(base64.b64decode(answer["contexts"]), np.float32).reshape(
        -1, EMBEDDING_SIZE
    )
