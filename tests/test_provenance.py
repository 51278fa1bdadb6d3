"""A figure knows the code that made it: what changes the digest, and what is said of others."""

import subprocess
import sys

import pytest
from completelook_build.report import code_digest, is_stale, made_by, provenance, stale_note

FILES = {
    "__init__.py": '"""A project."""\n',
    "measure.py": "from toys_of_mine import parts\nfrom toys_of_mine.room import used\n\n"
    "def figure():\n    return used() + parts.ONE\n",
    "parts.py": "ONE = 1\n",
    "room/__init__.py": "from toys_of_mine.room.inside import used\n"
    "from toys_of_mine.room.other import unused\n",
    "room/inside.py": "def used():\n    return 1\n",
    "room/other.py": "def unused():\n    return 1\n",
    "report/__init__.py": "",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own in place of ours."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance, "PROJECT", ("toys_of_mine",))
    monkeypatch.setattr(provenance, "NEUTRAL", ("toys_of_mine.report",))
    for name, text in FILES.items():
        path = tmp_path / "toys_of_mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield tmp_path / "toys_of_mine"
    sys.modules.pop("toys_of_mine", None)
    code_digest.cache_clear()


def digest():
    code_digest.cache_clear()
    return code_digest("toys_of_mine.measure")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("measure.py", "+", "-", id="the module"),
        pytest.param("parts.py", "1", "2", id="a module that it imports"),
        pytest.param("room/inside.py", "1", "2", id="what a package hands on"),
    ],
)
def test_code_that_decides_a_figure_changes_its_digest(project, name, old, new):
    before = digest()
    path = project / name
    path.write_text(path.read_text().replace(old, new))
    assert digest() != before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("room/other.py", "def unused():\n    return 2\n", id="a module not used"),
        pytest.param("parts.py", "# One.\n\nONE   =  1\n", id="comments and spaces"),
        pytest.param(
            "room/inside.py", 'def used():\n    """One."""\n    return 1\n', id="docstring"
        ),
    ],
)
def test_what_shows_in_no_figure_keeps_the_digest(project, name, text):
    before = digest()
    (project / name).write_text(text)
    assert digest() == before


def test_how_a_figure_is_written_keeps_its_digest(project):
    path = project / "measure.py"
    path.write_text("import toys_of_mine.report\n" + path.read_text())
    before = digest()
    (project / "report/__init__.py").write_text("TITLE = 'another'\n")
    assert digest() == before


def test_a_name_that_is_no_module_is_refused():
    with pytest.raises(ValueError, match="no_such"):
        code_digest("completelook_build.no_such")


def test_preprocessing_decides_the_figures_of_a_comparison(monkeypatch):
    before = code_digest("completelook_build.evaluation.comparison")
    parsed = provenance._parsed

    def changed(path):
        tree = parsed(path)
        if path.match("completelook/images/decode.py"):
            tree.body.pop()
        return tree

    monkeypatch.setattr(provenance, "_parsed", changed)
    code_digest.cache_clear()
    after = code_digest("completelook_build.evaluation.comparison")
    code_digest.cache_clear()
    assert after != before


@pytest.mark.usefixtures("project")
def test_figures_of_todays_code_are_not_called_stale():
    figures = {"made_by": made_by("toys_of_mine.measure")}
    assert not is_stale(figures, "toys_of_mine.measure")
    assert stale_note(figures, "toys_of_mine.measure", command="make results") == ""


@pytest.mark.usefixtures("project")
def test_figures_of_other_code_say_so_and_name_their_commit():
    figures = {"made_by": {"code": "0" * 16, "commit": "abc1234"}}
    note = stale_note(figures, "toys_of_mine.measure", command="make results")
    assert "earlier code (commit abc1234)" in note
    assert "`make results`" in note


@pytest.mark.usefixtures("project")
def test_figures_that_know_no_code_count_as_stale():
    assert is_stale({}, "toys_of_mine.measure")
    assert "**Made by earlier code**" in stale_note({}, "toys_of_mine.measure", command="x")


@pytest.mark.usefixtures("project")
def test_outside_of_git_a_figure_has_a_digest_and_no_commit(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert made_by("toys_of_mine.measure") == {"code": digest(), "commit": ""}
