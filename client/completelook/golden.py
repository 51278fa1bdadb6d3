"""The golden image: a picture made by formula, and the record of an export, which embeds it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from completelook.contract import EMBED_SCENE, EMBEDDING_SIZE, IMAGE_SIZE
from completelook.errors import ContractError
from completelook.files import sha256, write_text

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
    """The golden image's embeddings as the export computed them, and the digests of its files.

    It is the last file that an export replaces: where a digest is another, either the file was
    changed since, or the export was killed half-way.
    """

    model_id: int
    scene_embedding: tuple[float, ...]  # [128]
    product_embedding: tuple[float, ...]  # [128]
    tolerance: float  # largest difference that the export's precision explains
    files: Mapping[str, str] = field(default_factory=dict)  # path in the repository -> SHA-256

    @classmethod
    def read(cls, model_repository: Path) -> Self | None:
        """The record in a model repository, None when there is none. Raises ContractError."""
        path = cls.path(model_repository)
        if not path.exists():
            return None
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                model_id=int(fields["model_id"]),
                scene_embedding=_embedding(fields["scene_embedding"]),
                product_embedding=_embedding(fields["product_embedding"]),
                tolerance=float(fields["tolerance"]),
                files=dict(fields["files"]),
            )
        except (ValueError, TypeError, KeyError) as exc:
            raise ContractError(
                f"{path} is no record of an export ({type(exc).__name__}: {exc}): export the model "
                "again with `completelook-build export`"
            ) from exc

    def write(self, model_repository: Path) -> None:
        """Store the record in a model repository, for `read`. Raises OSError."""
        write_text(self.path(model_repository), self.as_json())

    def as_json(self) -> str:
        """What `read` reads."""
        return json.dumps(asdict(self))

    @staticmethod
    def path(model_repository: Path) -> Path:
        """Where the record of a model repository lies; git keeps no file of a version's folder."""
        return model_repository / EMBED_SCENE.name / "1" / "golden.json"

    def largest_difference(
        self, scene_embedding: NDArray[np.float32], product_embedding: NDArray[np.float32]
    ) -> float:
        """Of the golden image's embeddings, both [128], from the recorded ones; NaN for NaN."""
        differences = [
            np.abs(np.subtract(self.scene_embedding, scene_embedding)),
            np.abs(np.subtract(self.product_embedding, product_embedding)),
        ]
        return float(np.max(differences))

    def changed_files(self, model_repository: Path) -> list[str]:
        """The files of the export that are no longer as it wrote them. Raises OSError."""
        places = {name: model_repository / name for name in self.files}
        return [
            name
            for name, path in places.items()
            if not path.is_file() or sha256(path) != self.files[name]
        ]


def _embedding(values: list[float]) -> tuple[float, ...]:
    if len(values) != EMBEDDING_SIZE:
        raise ValueError(f"an embedding of {len(values)} numbers, expected {EMBEDDING_SIZE}")
    return tuple(float(value) for value in values)
