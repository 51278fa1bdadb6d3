"""The torture's short form: its counts tell right from wrong, and faults that end well do."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from completelook.errors import CatalogError
from completelook_load.faults import kinds
from completelook_load.faults.kinds import FAULTS, files
from completelook_load.faults.page import FIGURES, PAGE, keep, write_page
from completelook_load.faults.stand import Stand
from completelook_load.faults.tally import Tally

ROOT = Path(__file__).parents[1]


def never() -> int:
    threading.Event().wait()
    return 1


def broken() -> int:
    raise ZeroDivisionError("nothing of ours")


def told() -> int:
    raise CatalogError("make one")


@pytest.mark.parametrize(
    ("call", "counted"),
    [
        pytest.param(lambda: 1, {"answered": 1}, id="right"),
        pytest.param(lambda: 2, {"wrong": 1}, id="wrong"),
        pytest.param(told, {"told": {"CatalogError": 1}}, id="told"),
        pytest.param(broken, {"lost": 1}, id="an error that is none of ours"),
        pytest.param(never, {"hung": 1}, id="no end"),
    ],
)
def test_each_way_a_question_ends_is_counted(call, counted):
    tally = Tally()
    assert tally.ask(call, lambda answer: answer == 1, within_s=0.2) == ("answered" in counted)
    found = {name: value for name, value in tally.as_json().items() if value}
    assert {name: found[name] for name in counted} == counted
    assert found.keys() <= {*counted, "problems", "said"}
    assert tally.is_clean == bool({"answered", "told"} & counted.keys())


def test_a_reader_that_crashes_or_answers_otherwise_is_not_overlooked(tmp_path, monkeypatch):
    """Without the catalog's checks, the harness must find what they are for."""
    monkeypatch.setattr(files, "_answer", unchecked)
    tally = Tally()
    files.flip_catalog(Stand(tmp_path), tally, 40)
    assert tally.injected == 40
    assert not tally.is_clean


def unchecked(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "times"),
    [("cuts-of-catalog", 40), ("rewritten-catalog", 5), ("overwritten-catalog", 4)],
)
def test_damaged_and_replaced_catalogs_give_right_answers_or_errors(tmp_path, name, times):
    tally = Tally()
    FAULTS[name].inject(Stand(tmp_path), tally, times)
    assert tally.injected == times
    assert tally.is_clean, tally.problems


@pytest.mark.slow
def test_index_waits_for_a_server_that_is_restarted(tmp_path, exported):
    (tmp_path / "model-0").symlink_to(exported)
    tally = Tally()
    kinds.indexing.restart_under_index(Stand(tmp_path), tally, 1)
    assert tally.is_clean, tally.problems
    assert (tally.injected, tally.answered) == (1, 1)


def test_a_page_has_a_row_for_each_fault_and_names_what_went_wrong(tmp_path):
    good = Tally(injected=20, answered=7, told={"ServerTimeout": 2}, recovery_s=[1.0, 3.0, 2.0])
    bad = Tally(injected=20, lost=1, problems=["lost: a product"])
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text("before\n<!-- begin faults -->\n<!-- end faults -->\nafter\n")
    keep(figures, "reset", bad)
    keep(figures, "reset", good)
    keep(figures, "kill-stub", bad)
    write_page(page, figures)
    text = page.read_text()
    assert "| reset | 20 | 7 | 2 | 0 | 0 | 0 | 0 | 0 | 2.0 s | 3.0 s |" in text
    assert "| kill-stub | 20 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | - | - |" in text
    assert "lost: a product" in text
    assert "told: 2 ServerTimeout" in text
    assert "Made by earlier code" not in text


def test_the_repositorys_page_is_what_its_figures_say(tmp_path):
    page = tmp_path / "reliability.md"
    shutil.copyfile(ROOT / PAGE, page)
    write_page(page, ROOT / FIGURES)
    assert page.read_text() == (ROOT / PAGE).read_text(), "run `make results-page`"


def test_the_repositorys_figures_hold():
    rows = json.loads((ROOT / FIGURES).read_text())
    assert rows.keys() <= FAULTS.keys()
    for name, row in rows.items():
        assert Tally(**row["tally"]).is_clean, name
