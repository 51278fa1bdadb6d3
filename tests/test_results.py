"""docs/results.md is what its figures say, and says which of them earlier code made."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from completelook_build import results
from completelook_build.attention import STUDY_MODULES
from completelook_build.report import made_by
from completelook_build.results import measure_attention, write_page

DOCS = Path(__file__).parents[1] / "docs"


def study(mass_ratio, made_by=None):
    def estimate(value):
        return {"value": value, "low": value - 0.25, "high": value + 0.25}

    own = {"mass_ratio": estimate(mass_ratio), "pointing": estimate(0.7), "entropy": estimate(0.9)}
    figures = {
        "views": 12,
        "scenes": 5,
        "area_share": estimate(0.1),
        "attention": own,
        "saliency": {**own, "mass_ratio": estimate(1.0)},
    }
    return {"overall": figures, "categories": {"A|Rugs": figures}, "made_by": made_by or {}}


@pytest.fixture
def page(tmp_path):
    """A page of empty blocks; what lies beside it are figures."""
    page = tmp_path / "results.md"
    blocks = (f"<!-- begin {name} -->\nold\n<!-- end {name} -->\n" for name in results.MADE_OF)
    page.write_text("before\n" + "".join(blocks))
    return page


def test_the_repositorys_page_is_what_its_figures_say(tmp_path):
    page = tmp_path / "results.md"
    shutil.copyfile(DOCS / "results.md", page)
    write_page(page, DOCS / "results")
    assert page.read_text() == (DOCS / "results.md").read_text(), (
        "docs/results.md is not what docs/results/*.json say, or does not say that code has "
        "changed since: run `make results-page`"
    )


def test_every_accuracy_in_the_text_is_one_of_the_tables():
    text = (DOCS / "results.md").read_text()
    blocks = "".join(re.findall(r"<!-- begin .*?<!-- end", text, re.DOTALL))
    written = re.sub(r"<!-- begin .*?<!-- end", "", text, flags=re.DOTALL)
    named = set(re.findall(r"\b0\.\d{3}\b", written))
    assert named
    assert named <= set(re.findall(r"\b0\.\d{3}\b", blocks))


def test_a_page_says_what_was_not_measured_and_shows_what_was(page):
    forms = {"plain": [study(3.0), study(4.0), study(5.0)]}
    (page.parent / "attention.json").write_text(json.dumps({"forms": forms}))
    write_page(page, page.parent)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.count("Not measured.") == len(results.MADE_OF) - 1
    assert "| plain | 1 | 0.100 | 4.00 [3.75, 4.25] | 0.700 [0.450, 0.950] | 0.900 |" in text
    assert r"| A\|Rugs | 4.00 |" in text


def test_a_page_says_that_earlier_code_made_its_figures(page):
    figures = json.loads((DOCS / "results/showroom.json").read_text())
    today = {**figures, "made_by": made_by(*results.MADE_OF["showroom"])}
    (page.parent / "showroom.json").write_text(json.dumps(today))
    write_page(page, page.parent)
    assert "earlier code" not in page.read_text()
    stale = {"tables": {"random:0": figures}, "made_by": {"code": "0" * 16, "commit": "abc1234"}}
    (page.parent / "ikea.json").write_text(json.dumps(stale))
    write_page(page, page.parent)
    assert "**Made by earlier code (commit abc1234)**" in page.read_text()
    assert "`make results PHOTOS=DIR`" in page.read_text()


def test_backbones_stand_side_by_side_and_a_row_that_one_lacks_is_empty():
    showroom = json.loads((DOCS / "results/showroom.json").read_text())
    few = {**showroom, "rows": [row for row in showroom["rows"] if row["name"] == "ctl"]}
    text = results.photos_as_markdown({"tables": {"one": showroom, "two": few}})
    header, _, *rows = text.split("\n\n")[0].splitlines()
    assert header == "| accuracy | `one` | `two` |"
    assert "| CTL | 0.953 [0.942, 0.962] | 0.953 [0.942, 0.962] |" in rows
    assert "| Raw features | 0.426 [0.390, 0.465] |  |" in rows


class Commands:
    """Runs nothing, and writes where `attention` and `compare` would."""

    def __init__(self):
        self.seen = []

    def __call__(self, command):
        self.seen.append(command)
        arguments = shlex.split(command)
        if arguments[1] == "attention":
            out = Path(arguments[arguments.index("--out") + 1])
            out.mkdir(parents=True)
            (out / "attention.json").write_text(json.dumps(study(3.0, made_by(*STUDY_MODULES))))
        if arguments[1] == "compare":
            out = Path(arguments[arguments.index("--out") + 1])
            out.mkdir(parents=True)
            (out / "table.json").write_text("{}")


def test_real_pictures_are_compared_in_folds_with_each_backbone(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "WORK", tmp_path)
    run = Commands()
    tables = results.measure_photos("street", Path("photos/street"), run)
    assert list(tables) == ["efficientnet-lite0", "efficientnet-lite2", "random:0"]
    assert all("--folds 5" in command for command in run.seen)
    assert "--row" not in run.seen[0]
    assert "--row raw --row ctl" in run.seen[2]


def test_products_in_other_light_are_compared_on_copies_made_once(
    small_showroom, tmp_path, monkeypatch
):
    monkeypatch.setattr(results, "WORK", tmp_path / "work")
    street = tmp_path / "street"
    street.mkdir()
    shutil.copyfile(small_showroom / "pairs.jsonl", street / "street.json")
    shutil.copyfile(small_showroom / "categories.json", street / "street-cat.json")
    (street / "images").symlink_to(small_showroom / "images")
    run = Commands()
    assert list(results.measure_relit(street, run)) == ["efficientnet-lite0"]
    arguments = shlex.split(run.seen[0])
    images = Path(arguments[arguments.index("--images") + 1])
    assert images.parent == tmp_path / "work"

    (images / "kept").touch()
    shutil.rmtree(tmp_path / "work" / "street-relit-table")
    results.measure_relit(street, run)
    assert (images / "kept").exists()


def test_every_form_is_trained_with_every_seed_and_only_once(tmp_path):
    run = Commands()
    first = measure_attention("--pairs p", tmp_path, run)
    trained = [command for command in run.seen if " train " in command]
    assert len(trained) == len(set(trained)) == 6
    assert sum("--attention-scale 5" in command for command in trained) == 3
    assert measure_attention("--pairs p", tmp_path, run) == first
    assert len(run.seen) == 12


def test_a_study_that_earlier_code_made_is_made_anew(tmp_path):
    run = Commands()
    measure_attention("--pairs p", tmp_path, run)
    old = study(9.0, {"code": "0" * 16, "commit": "abc1234"})
    (tmp_path / "paper-1" / "attention.json").write_text(json.dumps(old))
    forms = measure_attention("--pairs p", tmp_path, run)
    assert len(run.seen) == 14
    assert "--seed 1" in run.seen[-2]
    assert forms["paper's form"][1]["overall"]["attention"]["mass_ratio"]["value"] == 3.0
