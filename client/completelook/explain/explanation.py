"""The explanation of a ranking as a folder: pictures for people, explain.json for programs."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from completelook.catalog import Catalog, format_model_id
from completelook.explain.maps import attention_map, contributions, support
from completelook.explain.overlays import marked, overlay
from completelook.files import replacing, write_text
from completelook.images import ANY_PICTURE, PicturePolicy, open_image, shrunk
from completelook.ranking import NO_STEERING, Match, RankedScene, Steering

INDEX = "explain.json"
# Of each category so many have pictures; all that were ranked are in explain.json.
PRODUCTS_DRAWN = 3
_LONGEST_SIDE = 1000
# The 196 parts of a distance still add up to it within 1e-6.
_DECIMALS = 8


def write_explanation(
    directory: Path,
    scenes: Sequence[RankedScene],
    catalog: Catalog,
    *,
    steering: Steering = NO_STEERING,
    policy: PicturePolicy = ANY_PICTURE,
) -> list[Path]:
    """Write why these products: `explain.json`, and pictures, whose paths are given.

    A PNG per scene and category shows where the model looked, one for each of its first
    PRODUCTS_DRAWN products what speaks for it, see `support`. The scenes must be embedded with
    regions; `steering` is what they were ranked with.

    Raises ImageError for a scene that cannot be opened, CatalogError, OSError.
    """
    explained, pictures = [], []
    for scene, name in zip(scenes, _scene_names(scenes), strict=True):
        photo = shrunk(open_image(scene.source, policy), _LONGEST_SIDE)
        drawing = _Drawing(photo, steering, directory / name)
        categories = [
            _category(scene, category, catalog, drawing, matches)
            for category, matches in scene.matches.items()
        ]
        explained.append({"scene": scene.source, "categories": categories})
        pictures += drawing.written
    content = {
        "model_id": format_model_id(catalog.model_id),
        "catalog": catalog.info.location,
        "steering": asdict(steering),
        "scenes": explained,
    }
    write_text(directory / INDEX, json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    return pictures


class _Drawing:
    """Maps of one photo, written beside each other."""

    def __init__(self, photo: Image.Image, steering: Steering, stem: Path) -> None:
        self._photo, self._steering, self._stem = photo, steering, stem
        self.written: list[Path] = []

    def write(self, values: NDArray[np.floating[Any]], *names: str) -> str:
        """Draw a map [14, 14] on the photo; the name of the file. Raises OSError."""
        parts = [self._stem.name, *map(_file_name, names)]
        path = self._stem.with_name("--".join(parts) + ".png")
        with replacing(path) as beside:
            marked(overlay(self._photo, values), self._steering).save(beside, "PNG")
        self.written.append(path)
        return path.name


def _category(
    scene: RankedScene,
    name: str,
    catalog: Catalog,
    drawing: _Drawing,
    matches: Sequence[Match],
) -> dict[str, Any]:
    """What explain.json says of a category; its pictures are drawn."""
    row = catalog.categories.resolve(name)
    attention = attention_map(scene.embedding, row)
    picture = drawing.write(attention, name)
    embeddings = catalog.get([match.id for match in matches]).embeddings  # [n, 128]
    parts = contributions(scene.embedding, row, embeddings)  # [n, 14, 14]
    maps = support(scene.embedding, row, embeddings[:PRODUCTS_DRAWN])  # [3, 14, 14]
    pictures = [
        drawing.write(own.clip(0), name, f"{match.rank} {match.id}")
        for match, own in zip(matches, maps, strict=False)
    ]
    products = [
        {
            "rank": match.rank,
            "id": match.id,
            "distance": match.distance,
            "global_distance": match.global_distance,
            "local_distance": match.local_distance,
            "compatibility": match.compatibility,
            "picture": pictures[place] if place < len(pictures) else None,
            "contributions": parts[place].round(_DECIMALS).tolist(),
        }
        for place, match in enumerate(matches)
    ]
    shown = attention.astype(np.float64).round(_DECIMALS).tolist()
    return {"category": name, "picture": picture, "attention": shown, "products": products}


def _scene_names(scenes: Sequence[RankedScene]) -> list[str]:
    """A file name for each scene; scenes of one name are numbered from the second on."""
    seen: Counter[str] = Counter()
    names = []
    for scene in scenes:
        name = _file_name(Path(scene.source).stem)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def _file_name(text: str) -> str:
    """The text as part of a file name on any system: its words, joined by hyphens."""
    return "-".join(re.findall(r"\w+", text)) or "unnamed"
