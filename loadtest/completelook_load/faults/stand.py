"""What faults are injected into: a small model, its pictures, and the answers that are right."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from completelook import CompleteLook
from numpy.typing import NDArray
from PIL import Image

CATEGORIES = ("Decor|Rugs", "Furniture|Sofas", "Lighting|Lamps")
_PICTURES = 12
_TILE = 28  # so that a picture of the models' size is of 8 x 8 colors
# Batches of other sizes change the last bits; two pictures lie a hundred times further apart.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Truth:
    """What a model answers when nothing is wrong."""

    model_id: int
    scenes: NDArray[np.float32]  # [n, 128]
    products: NDArray[np.float32]  # [n, 128]

    @classmethod
    def of(cls, look: CompleteLook, pictures: list[NDArray[np.uint8]]) -> "Truth":
        """Ask a healthy server. Raises ValueError where its answers cannot be told apart."""
        scenes = [look.embed_scene(picture) for picture in pictures]
        products = [look.embed_product(picture).embedding for picture in pictures]
        truth = cls(
            scenes[0].model_id, np.stack([each.embedding for each in scenes]), np.stack(products)
        )
        for vectors in (truth.scenes, truth.products):
            apart = np.abs(vectors[:, None] - vectors[None]).max(axis=2)  # [n, n]
            if np.min(apart + np.eye(len(vectors))) < 100 * _TOLERANCE:
                raise ValueError("two pictures have nearly the same embedding")
        return truth

    def has(self, answer: object, number: int) -> bool:
        """Whether an answer is the right one for a picture."""
        wanted = self.scenes if hasattr(answer, "contexts") else self.products
        found: NDArray[np.float32] = getattr(answer, "embedding")  # noqa: B009 - of two kinds
        is_near = bool(np.abs(found - wanted[number]).max() <= _TOLERANCE)
        return is_near and getattr(answer, "model_id", None) == self.model_id


class Stand:
    """A folder with what every fault needs, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def pictures(self) -> list[NDArray[np.uint8]]:
        """Pictures as the models take them, [224, 224, 3]."""
        colors = np.random.default_rng(0).integers(0, 256, (_PICTURES, 8, 8, 3), np.uint8)
        return list(colors.repeat(_TILE, axis=1).repeat(_TILE, axis=2))

    def repository(self, seed: int = 0) -> Path:
        """A model repository; another seed makes another model."""
        # Imported here: processes that read files alone need none of it.
        import torch
        from completelook_build.backbones import load_network
        from completelook_build.export import export_model
        from completelook_build.heads import CompatibilityHeads, HeadsConfig
        from completelook_build.training import TrainedModel

        place = self.folder / f"model-{seed}"
        if not place.exists():
            torch.manual_seed(seed)
            config = HeadsConfig(categories=CATEGORIES, channels=144, pooled_size=464)
            heads = CompatibilityHeads(config).eval()
            network = load_network("efficientnet-lite0")
            export_model(TrainedModel(network, heads, config, {}), place)
        return place

    @cached_property
    def products(self) -> Path:
        """A table of products, several for each picture."""
        table = self.folder / "products.csv"
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("id", "image", "category"))
            for number in range(5 * _PICTURES):
                name = f"{number}.png"
                Image.fromarray(self.pictures[number % _PICTURES]).save(self.folder / name)
                rows.writerow((f"p{number:03d}", name, CATEGORIES[number % len(CATEGORIES)]))
        return table

    def expected(self, truth: Truth) -> dict[str, NDArray[np.float32]]:
        """The embeddings [128] that a catalog of these products has, by id."""
        rows = self.products.read_text(encoding="utf-8").splitlines()[1:]
        return {
            row.split(",")[0]: truth.products[number % _PICTURES] for number, row in enumerate(rows)
        }
