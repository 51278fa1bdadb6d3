"""The golden image: a picture made by formula, and what an export computed for it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from completelook.contract import EMBED_SCENE, EMBEDDING_SIZE, IMAGE_SIZE
from completelook.errors import ContractError

_TILE = 28


def golden_image() -> NDArray[np.uint8]:
    """Two ramps and a checkerboard, [224, 224, 3]: integers alone, the same on any machine."""
    rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    red = columns * 255 // (IMAGE_SIZE - 1)
    green = rows * 255 // (IMAGE_SIZE - 1)
    blue = (rows // _TILE + columns // _TILE) % 2 * 255
    return np.stack([red, green, blue], axis=-1, dtype=np.uint8, casting="unsafe")  # [224, 224, 3]


@dataclass(frozen=True)
class GoldenRecord:
    """The golden image's embeddings as the export computed them, kept beside the exported model."""

    model_id: int
    scene_embedding: tuple[float, ...]  # [128]
    product_embedding: tuple[float, ...]  # [128]
    tolerance: float  # largest difference that the export's precision explains

    @classmethod
    def read(cls, model_repository: Path) -> Self | None:
        """The record in a model repository, None when there is none. Raises ContractError."""
        path = _record_path(model_repository)
        if not path.exists():
            return None
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                model_id=int(fields["model_id"]),
                scene_embedding=_embedding(fields["scene_embedding"]),
                product_embedding=_embedding(fields["product_embedding"]),
                tolerance=float(fields["tolerance"]),
            )
        except (ValueError, TypeError, KeyError) as exc:
            raise ContractError(
                f"{path} is no record of an export ({type(exc).__name__}: {exc}): export the model "
                "again with `completelook-build export`"
            ) from exc

    def write(self, model_repository: Path) -> None:
        """Store the record in a model repository, for `read`."""
        _record_path(model_repository).write_text(json.dumps(asdict(self)), encoding="utf-8")


def _record_path(model_repository: Path) -> Path:
    return model_repository / EMBED_SCENE.name / "1" / "golden.json"


def _embedding(values: list[float]) -> tuple[float, ...]:
    if len(values) != EMBEDDING_SIZE:
        raise ValueError(f"an embedding of {len(values)} numbers, expected {EMBEDDING_SIZE}")
    return tuple(float(value) for value in values)
