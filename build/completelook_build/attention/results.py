"""The attention study of docs/results.md: the paper's form and the learned scale, over seeds."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from completelook_build.report import markdown_table

Figures = Mapping[str, Any]  # what attention.json holds

SEEDS = (0, 1, 2)
_FORMS = {"paper's form": "", "scale learned, from 5": "--attention-scale 5"}
_HEADS = (
    *("form", "seed", "area", "mass ratio", "pointing", "entropy"),
    *("saliency's mass ratio", "saliency's pointing"),
)


def measure(data: str, work: Path, run: Callable[[str], None]) -> dict[str, list[Figures]]:
    """Train every form with every seed and study it; what an earlier run has done is used again.

    `data` holds the options that name the data. Returns what the attention.json of each form and
    seed holds.
    """
    return {
        form: [_study(data, options, seed, work, run) for seed in SEEDS]
        for form, options in _FORMS.items()
    }


def _study(data: str, options: str, seed: int, work: Path, run: Callable[[str], None]) -> Figures:
    out = work / f"{'scaled' if options else 'paper'}-{seed}"
    figures, model = out / "attention.json", out / "model"
    if not figures.exists():
        training = f"--backbone random:0 --seed {seed} {options} --resume"
        run(f"completelook-build train {data} {training} --out {model}")
        run(f"completelook-build attention --model {model} {data} --out {out}")
    content: Figures = json.loads(figures.read_text(encoding="utf-8"))
    return content


def as_markdown(forms: Mapping[str, Sequence[Figures]]) -> str:
    """A row for each form and seed, then the mean mass ratio of each category."""
    rows = [
        [form, str(seed), *_cells(study["overall"])]
        for form, seeds in forms.items()
        for seed, study in zip(SEEDS, seeds, strict=True)
    ]
    first = next(iter(forms.values()))[0]
    views, scenes = first["overall"]["views"], first["overall"]["scenes"]
    return (
        f"{markdown_table(_HEADS, rows)}\n"
        f"{views} views of {scenes} test scenes. Mass ratio: the attention's mass inside the "
        "anchor's box over the box's share of the area. Pointing: how often the map's peak is "
        "inside, by chance the area. Entropy: 1 looks everywhere alike. Saliency: the spectral "
        "residual of the same picture.\n\n"
        f"The mean mass ratio over the seeds, by category:\n\n{_categories(forms)}"
    )


def _cells(overall: Figures) -> list[str]:
    attention, saliency = overall["attention"], overall["saliency"]
    return [
        f"{overall['area_share']['value']:.3f}",
        _estimate(attention["mass_ratio"], 2),
        _estimate(attention["pointing"], 3),
        f"{attention['entropy']['value']:.3f}",
        f"{saliency['mass_ratio']['value']:.2f}",
        f"{saliency['pointing']['value']:.3f}",
    ]


def _estimate(estimate: Figures, digits: int) -> str:
    value, low, high = (f"{estimate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _categories(forms: Mapping[str, Sequence[Figures]]) -> str:
    def mean_ratio(category: str, seeds: Sequence[Figures]) -> str:
        studies = [study["categories"][category]["attention"] for study in seeds]
        return f"{fmean(study['mass_ratio']['value'] for study in studies):.2f}"

    categories = next(iter(forms.values()))[0]["categories"]
    rows = [[name, *(mean_ratio(name, seeds) for seeds in forms.values())] for name in categories]
    return markdown_table(["category", *forms], rows)
