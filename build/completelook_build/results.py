"""docs/results.md: measure, and write the tables between its hand-written text.

`make results` runs this. What an earlier run measured with the same code is used again. The figures
themselves are kept in docs/results/, so that the page can be checked, and made anew
(`make results-page`), without measuring; where other code than today's made them, the page says so.
"""

import json
import shlex
import shutil
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from completelook.errors import CompleteLookError, exit_with
from completelook.files import replacing, write_text

from completelook_build.attention import STUDY_MODULES
from completelook_build.data import Dataset, relight
from completelook_build.demo import run
from completelook_build.evaluation import COMPARISON_MODULES, comparison_as_markdown
from completelook_build.report import (
    code_digest,
    is_stale,
    made_by,
    markdown_table,
    replace_blocks,
    stale_note,
)

Figures = Mapping[str, Any]  # what a JSON file of figures holds

PAGE = Path("docs/results.md")
FIGURES = Path("docs/results")
WORK = Path("results")
_NOT_MEASURED = "Not measured.\n"
_SHOWROOM, _SCENES = "completelook_build.showroom", 500
SEEDS = (0, 1, 2)
_FORMS = {"paper's form": "", "scale learned, from 5": "--attention-scale 5"}
_PHOTOS = ("ikea", "street")  # sets of real pictures, each a folder of PHOTOS
_RELIT, _RELIGHTING = "street-relit", "completelook_build.data.relighting"
# The first has every row, the others those that say what a backbone is worth.
_FEW_ROWS = ("raw", "ctl", "small_data", "small_data_global")
_BACKBONES: Mapping[str, Sequence[str]] = {
    "efficientnet-lite0": (),
    "efficientnet-lite2": _FEW_ROWS,
    "random:0": _FEW_ROWS,
}
# What decides the figures of each block of the page.
MADE_OF: Mapping[str, Sequence[str]] = {
    "showroom": (*COMPARISON_MODULES, _SHOWROOM),
    "attention": (*STUDY_MODULES, _SHOWROOM),
    **dict.fromkeys(_PHOTOS, COMPARISON_MODULES),
    _RELIT: (*COMPARISON_MODULES, _RELIGHTING),
}


def measure(photos: Path | None) -> None:
    """Measure on the showroom and, where their folder is given, on real pictures."""
    # A showroom that other code has drawn is another one.
    showroom = WORK / f"showroom-{code_digest(_SHOWROOM)}"
    if not showroom.exists():
        run(f"completelook-build showroom {showroom} --scenes {_SCENES}")
    data = _data(data=showroom)
    table = WORK / "showroom-table"
    run(f"completelook-build compare {data} --backbone random:0 --out {table}")
    _keep("showroom", _read(table / "table.json"))
    forms = measure_attention(data, WORK / "showroom-attention", run)
    _keep("attention", {"forms": forms})
    if photos is not None:
        for name in _PHOTOS:
            _keep(name, {"tables": measure_photos(name, photos / name, run)})
        _keep(_RELIT, {"tables": measure_relit(photos / "street", run)})


def measure_photos(name: str, folder: Path, run: Callable[[str], None]) -> Mapping[str, Figures]:
    """Compare on a set of real pictures, in folds of its scenes: a table for each backbone."""
    data = _data(data=folder, **_pair_files(folder))
    return {
        backbone: _compare(data, backbone, rows, WORK / f"{name}-{backbone.replace(':', '-')}", run)
        for backbone, rows in _BACKBONES.items()
    }


def measure_relit(folder: Path, run: Callable[[str], None]) -> Mapping[str, Figures]:
    """The same with every product in a light of its own, and the first backbone alone."""
    files, images = _pair_files(folder), WORK / f"{_RELIT}-{code_digest(_RELIGHTING)}"
    if not images.exists():
        with replacing(images) as beside:
            relight(Dataset.of(folder, **files), beside)
    backbone = next(iter(_BACKBONES))
    data = _data(data=folder, images=images, **files)
    return {backbone: _compare(data, backbone, _FEW_ROWS, WORK / _RELIT, run)}


def _pair_files(folder: Path) -> dict[str, Path]:
    name = folder.name
    return {"pairs": folder / f"{name}.json", "categories": folder / f"{name}-cat.json"}


def _compare(
    data: str, backbone: str, rows: Sequence[str], out: Path, run: Callable[[str], None]
) -> Figures:
    options = " ".join(["--folds 5 --seeds 1", *(f"--row {row}" for row in rows)])
    run(f"completelook-build compare {data} --backbone {backbone} {options} --out {out}-table")
    return _read(Path(f"{out}-table", "table.json"))


def _data(**options: Path) -> str:
    """The options that name a data set, and the cache that all of them share."""
    named = [f"--{name} {shlex.quote(str(path))}" for name, path in options.items()]
    return " ".join([*named, f"--features {WORK}/features"])


def measure_attention(
    data: str, work: Path, run: Callable[[str], None]
) -> dict[str, list[Figures]]:
    """Train every form with every seed and study it; what today's code has done is used again.

    `data` holds the options that name the data. Returns what the attention.json of each form and
    seed holds.
    """
    return {
        form: [_study(data, options, seed, work, run) for seed in SEEDS]
        for form, options in _FORMS.items()
    }


def _study(data: str, options: str, seed: int, work: Path, run: Callable[[str], None]) -> Figures:
    out = work / f"{'scaled' if options else 'paper'}-{seed}"
    path, model = out / "attention.json", out / "model"
    if path.exists() and is_stale(_read(path), *STUDY_MODULES):
        shutil.rmtree(out)
    if not path.exists():
        training = f"--backbone random:0 --seed {seed} {options}"
        run(f"completelook-build train {data} {training} --out {model}")
        run(f"completelook-build attention --model {model} {data} --out {out}")
    return _read(path)


def _keep(name: str, figures: Figures) -> None:
    """Keep the figures of a block in docs/, with all that decides them."""
    content = {**figures, "made_by": made_by(*MADE_OF[name])}
    write_text(FIGURES / f"{name}.json", json.dumps(content, indent=1) + "\n")


def write_page(page: Path, figures: Path) -> None:
    """Fill the page's blocks with the figures of a folder; the text around them stays.

    Raises DataError where the page lacks a block.
    """
    blocks = {name: _block(name, figures / f"{name}.json") for name in MADE_OF}
    write_text(page, replace_blocks(page.read_text(encoding="utf-8"), blocks))


def _block(name: str, path: Path) -> str:
    """Figures as Markdown, whether today's code made them, or that there are none."""
    if not path.exists():
        return _NOT_MEASURED
    figures = _read(path)
    of_photos = name in (*_PHOTOS, _RELIT)
    command = "make results PHOTOS=DIR" if of_photos else "make results"
    as_markdown = {"attention": attention_table, "showroom": comparison_as_markdown}
    note = stale_note(figures, *MADE_OF[name], command=command)
    return note + as_markdown.get(name, photos_as_markdown)(figures)


def photos_as_markdown(figures: Figures) -> str:
    """The backbones side by side, then the first one's table."""
    tables: Mapping[str, Figures] = figures["tables"]
    accuracy = {
        backbone: {
            row["title"]: _with_interval(row["estimates"]["pairwise_accuracy"], 3)
            for row in table["rows"]
        }
        for backbone, table in tables.items()
    }
    first = next(iter(tables))
    shown = list(accuracy[first])
    rows = [[title, *(own.get(title, "") for own in accuracy.values())] for title in shown]
    side_by_side = markdown_table(["accuracy", *(f"`{name}`" for name in tables)], rows)
    return f"{side_by_side}\n{comparison_as_markdown(tables[first])}"


def attention_table(figures: Figures) -> str:
    """A row for each form and seed, then the mean mass ratio of each category."""
    forms: Mapping[str, Sequence[Figures]] = figures["forms"]
    headings = (
        *("form", "seed", "area", "mass ratio", "pointing", "entropy"),
        *("saliency's mass ratio", "saliency's pointing"),
    )
    rows = [
        [form, str(seed), *_attention_cells(study["overall"])]
        for form, seeds in forms.items()
        for seed, study in zip(SEEDS, seeds, strict=True)
    ]
    first = next(iter(forms.values()))[0]["overall"]
    return (
        f"{markdown_table(headings, rows)}\n"
        f"{first['views']} views of {first['scenes']} test scenes. Mass ratio: the attention's "
        "mass inside the anchor's box over the box's share of the area. Pointing: how often the "
        "map's peak is inside, by chance the area. Entropy: 1 looks everywhere alike. Saliency: "
        "the spectral residual of the same picture.\n\n"
        f"The mean mass ratio over the seeds, by category:\n\n{_category_table(forms)}"
    )


def _attention_cells(overall: Figures) -> list[str]:
    attention, saliency = overall["attention"], overall["saliency"]
    return [
        f"{overall['area_share']['value']:.3f}",
        _with_interval(attention["mass_ratio"], 2),
        _with_interval(attention["pointing"], 3),
        f"{attention['entropy']['value']:.3f}",
        f"{saliency['mass_ratio']['value']:.2f}",
        f"{saliency['pointing']['value']:.3f}",
    ]


def _with_interval(estimate: Figures, digits: int) -> str:
    value, low, high = (f"{estimate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _category_table(forms: Mapping[str, Sequence[Figures]]) -> str:
    def mean_ratio(category: str, seeds: Sequence[Figures]) -> str:
        studies = [study["categories"][category]["attention"] for study in seeds]
        return f"{fmean(study['mass_ratio']['value'] for study in studies):.2f}"

    categories = next(iter(forms.values()))[0]["categories"]
    rows = [[name, *(mean_ratio(name, seeds) for seeds in forms.values())] for name in categories]
    return markdown_table(["category", *forms], rows)


def _read(path: Path) -> Figures:
    content: Figures = json.loads(path.read_text(encoding="utf-8"))
    return content


def main() -> None:
    """Measure, unless only the page is asked for, and write the page."""
    parser = ArgumentParser(description=main.__doc__)
    parser.add_argument("photos", nargs="?", type=Path, help="Folder of ikea/ and street/.")
    parser.add_argument("--page-only", action="store_true", help="Measure nothing.")
    arguments = parser.parse_args()
    if not arguments.page_only:
        measure(arguments.photos)
    write_page(PAGE, FIGURES)
    print(f"\nwrote {PAGE}")


if __name__ == "__main__":
    try:
        main()
    except CompleteLookError as error:
        exit_with(error)
