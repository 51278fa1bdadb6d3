"""The attention study of a model folder, as files: figures as JSON and Markdown, and a sheet."""

import json
from pathlib import Path

from completelook.files import write_text

from completelook_build.attention.sheet import attention_sheet
from completelook_build.attention.study import AttentionStudy, read_anchors, study_attention
from completelook_build.attention.table import as_json, as_markdown
from completelook_build.data.pairs import read_pairs
from completelook_build.features.split import read_features
from completelook_build.report.picture_grid import save_png
from completelook_build.training import load_model


def study_model(
    folder: Path,
    pairs: Path,
    categories: Path,
    images: Path,
    features: Path,
    out: Path,
    *,
    scenes: int,
) -> AttentionStudy:
    """Study a model on the test split and write attention.json, attention.md and attention.png.

    Raises DataError or ModelError.
    """
    model = load_model(folder)
    data = read_pairs(pairs, categories, images)
    anchors = read_anchors(pairs)
    cached = read_features(data, model.backbone(), features, ("test",))
    test = cached.split("test", model.config.categories)
    study = study_attention(model.heads, test, model.config.categories, anchors)
    sheet = attention_sheet(model.heads, test, model.config.categories, study.views, scenes=scenes)
    write_text(out / "attention.json", json.dumps(as_json(study), indent=2) + "\n")
    write_text(out / "attention.md", as_markdown(study))
    save_png(sheet, out / "attention.png")
    return study
