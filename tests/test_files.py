"""Files that are replaced whole, one by one and together."""

from pathlib import Path

import pytest
from completelook.files import replacing, replacing_together, sha256, write_text


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "c"):
        (tmp_path / name).write_text("earlier")
    return tmp_path


def write_all(folder):
    with replacing_together() as beside:
        for name in ("a", "b", "c"):
            beside(folder / name).write_text("new")


def test_files_written_together_take_their_places_and_leave_nothing_beside(folder):
    write_all(folder)
    assert content(folder) == {"a": "new", "b": "new", "c": "new"}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_where_one_cannot_be_renamed_none_is(folder, number, error, monkeypatch):
    renamed, replace = [], Path.replace

    def failing(self, target):
        renamed.append(target)
        if len(renamed) == number:
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(error):
        write_all(folder)
    assert content(folder) == {"a": "earlier", "c": "earlier"}


def test_an_error_while_writing_leaves_the_earlier_files(folder):
    def write_half(beside):
        beside(folder / "a").write_text("new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), replacing_together() as beside:
        write_half(beside)
    assert content(folder) == {"a": "earlier", "c": "earlier"}


def test_a_reader_sees_the_earlier_file_until_the_new_one_is_whole(folder):
    with replacing(folder / "a") as beside:
        beside.write_text("half")
        assert (folder / "a").read_text() == "earlier"
        beside.write_text("whole")
    assert (folder / "a").read_text() == "whole"


def test_a_missing_folder_is_made_and_a_digest_is_of_the_content(tmp_path):
    write_text(tmp_path / "new/folder/file", "abc")
    assert sha256(tmp_path / "new/folder/file").startswith("ba7816bf8f01cfea")
