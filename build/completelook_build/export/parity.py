"""Parity: what the files of an export answer, against the trained model and the paper's formula.

The served heads are rewritten for speed: standardising and batch norm are folded away and two
layers are one. So they are not compared with themselves, but with the heads as training has them,
and their distances with the paper's sum over regions, written as a loop.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from completelook.contract import BACKBONE, IMAGE_SIZE, PRODUCT_HEAD, REGION_GRID, SCENE_HEAD
from completelook.golden import golden_image
from torch import Tensor, nn

from completelook_build.errors import ExportError
from completelook_build.export.formats import Run
from completelook_build.heads import CompatibilityHeads

BATCH_SIZES = (1, 2, 7)
# By the precision of the export. So far may the golden image's embeddings lie from the export's,
# too, once other kernels, another batch or another device have rounded them in between.
TOLERANCES: Mapping[str, float] = {"fp32": 1e-4, "bf16": 1e-2, "fp16": 1e-2}


@dataclass(frozen=True)
class Parity:
    """How far an export's answers are from the trained model's, the largest absolute difference."""

    embeddings: Mapping[int, float]  # by batch size
    distance: float  # of a scene and a product, from the paper's d(s, p)

    def as_text(self) -> str:
        """What a person wants to know, in one line."""
        batches = ", ".join(f"{d:.1e} at batch {size}" for size, d in self.embeddings.items())
        return (
            f"largest difference from the trained model: {batches}; "
            f"{self.distance:.1e} from the paper's distance"
        )


def check_parity(
    served: Mapping[str, Run],
    backbone: nn.Module,
    heads: CompatibilityHeads,
    heads_id: int,
    tolerance: float,
) -> Parity:
    """Compare what is served with the model as it was trained, on the golden and random images.

    `served` holds what runs the exported files, by the models' names. Raises ExportError where any
    embedding, attention or distance differs by more than `tolerance` or is not finite, or the
    MODEL_ID is another.
    """
    random = torch.Generator().manual_seed(0)
    embeddings, distance = {}, 0.0
    for batch_size in BATCH_SIZES:
        shape = (batch_size, IMAGE_SIZE, IMAGE_SIZE, 3)
        images = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
        images[0] = torch.from_numpy(golden_image())
        answer = run_chain(served, images)
        expected = trained_answer(backbone, heads, heads_id, images)
        if not torch.equal(answer.pop("MODEL_ID"), expected.pop("MODEL_ID")):
            raise ExportError(
                "the exported models answer with another MODEL_ID than their weights'"
            )
        for name, value in expected.items():
            difference = _farthest(answer[name], value)
            _require_close(f"{name} at batch {batch_size}", difference, tolerance)
        embeddings[batch_size] = max(_farthest(answer[name], expected[name]) for name in expected)
        # The golden image's scene with the last product.
        measured = served_distances(answer, 0, -1)
        by_loops = torch.tensor(paper_distances(backbone, heads, images[0], images[-1]))
        difference = _farthest(measured, by_loops)
        _require_close(f"the distance at batch {batch_size}", difference, tolerance)
        distance = max(distance, difference)
    return Parity(embeddings, distance)


@torch.inference_mode()
def run_chain(modules: Mapping[str, Run], images: Tensor) -> dict[str, Tensor]:
    """What the ensembles answer for UINT8 [B, 224, 224, 3], by the names of their outputs."""
    feature_map, pooled, backbone_id = modules[BACKBONE.name](images)
    scene = modules[SCENE_HEAD.name](feature_map, pooled, backbone_id)
    product, _ = modules[PRODUCT_HEAD.name](pooled, backbone_id)
    names = (t.name.rpartition("__")[0] for t in SCENE_HEAD.outputs)
    return {**dict(zip(names, scene, strict=True)), "PRODUCT_EMBEDDING": product}


@torch.inference_mode()
def trained_answer(
    backbone: nn.Module, heads: CompatibilityHeads, heads_id: int, images: Tensor
) -> dict[str, Tensor]:
    """The same of the heads as training and evaluation use them."""
    feature_map, pooled, backbone_id = backbone(images)
    attention, local = heads.embed_regions(feature_map.flatten(2).transpose(1, 2))
    return {
        "SCENE_EMBEDDING": heads.embed_pooled(pooled),  # [B, D]
        "CONTEXT_EMBEDDINGS": torch.matmul(attention, local),  # [B, C, D]
        "MODEL_ID": torch.bitwise_xor(backbone_id, heads_id),  # [B, 1]
        "ATTENTION": attention.unflatten(2, [REGION_GRID, REGION_GRID]),  # [B, C, 14, 14]
        "REGION_EMBEDDINGS": local,  # [B, R, D]
        "PRODUCT_EMBEDDING": heads.embed_pooled(pooled),  # [B, D]
    }


def served_distances(answer: Mapping[str, Tensor], scene: int, product: int) -> Tensor:
    """d = 2 - q_c . f_p as a client computes it, for every category [C]."""
    query = answer["SCENE_EMBEDDING"][scene] + answer["CONTEXT_EMBEDDINGS"][scene]  # [C, D]
    return 2.0 - torch.matmul(query, answer["PRODUCT_EMBEDDING"][product])


@torch.inference_mode()
def paper_distances(
    backbone: nn.Module, heads: CompatibilityHeads, scene: Tensor, product: Tensor
) -> list[float]:
    """The paper's d(s, p) by category: sections 3.2 to 3.4 region by region, nothing collapsed.

    Images UINT8 [224, 224, 3].
    """
    feature_map, pooled, _ = backbone(torch.stack([scene, product]))
    regions = heads.standardise_regions(feature_map[0].flatten(1).t())  # [R, channels]
    styles = heads.embed_pooled(pooled).double().numpy()  # [2, D]
    local = heads.g_local(regions).double().numpy()  # [R, D]
    keys = heads.g_attention(regions).double().numpy()  # [R, D]
    scale = float(heads.attention_log_scale.exp())
    d_global = np.sum((styles[0] - styles[1]) ** 2)
    found = []
    for embedding in heads.category_embedding.double().numpy():
        direction = embedding / np.linalg.norm(embedding)
        logits = [-scale * np.sum((key - direction) ** 2) for key in keys]
        weights = [np.exp(logit - max(logits)) for logit in logits]
        d_regions = [np.sum((style - styles[1]) ** 2) for style in local]
        d_local = sum(w * d for w, d in zip(weights, d_regions, strict=True)) / sum(weights)
        found.append(float(d_global + d_local) / 2)
    return found


def _farthest(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference, NaN where any is."""
    return float((one - other).abs().max())


def _require_close(what: str, difference: float, tolerance: float) -> None:
    # Written so that NaN fails.
    if not difference <= tolerance:
        raise ExportError(
            f"{what} differs from the trained model's by {difference:.1e}, more than "
            f"{tolerance:.0e}; nothing was exported"
        )
