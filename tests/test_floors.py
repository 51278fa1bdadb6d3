"""The house's rules that an import checker cannot state: doors, and the size of rooms."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSES = {
    "completelook": ROOT / "client" / "completelook",
    "completelook_build": ROOT / "build" / "completelook_build",
    "completelook_load": ROOT / "loadtest" / "completelook_load",
}
MODULES = [path for house in HOUSES.values() for path in sorted(house.rglob("*.py"))]
FOLDERS = sorted({path.parent for path in MODULES})

# Modules below 40 lines, and why.
SMALL = {
    "build/completelook_build/__main__.py": "`python -m completelook_build`",
    "client/completelook/cli/output/pipe.py": "JSON lines; the tables beside are slow to import",
    "build/completelook_build/errors.py": "the leaves that training adds to the client's tree",
}


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """The modules of the three houses that a file imports, a name's module where that is one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if file_of(name) else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in HOUSES)


def file_of(module: str) -> Path | None:
    """The file of a module, `__init__.py` for a package."""
    house, *parts = module.split(".")
    if house not in HOUSES:
        return None
    path = HOUSES[house].joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def is_door(module: str) -> bool:
    """Whether all may import a module: a package, or one that lies in no room of its house."""
    file = file_of(module)
    return file is not None and (file.name == "__init__.py" or module.count(".") == 1)


def test_the_rule_tells_a_door_from_a_window() -> None:
    assert is_door("completelook")
    assert is_door("completelook.errors")
    assert is_door("completelook.triton")
    assert not is_door("completelook.triton.connection")
    assert set(imported(Path(__file__).with_name("conftest.py"))) >= {"completelook.server"}


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_a_room_is_entered_by_its_door(path: Path) -> None:
    deep = [name for name in imported(path) if not is_door(name)]
    # A room within a room is inside both.
    outside = [name for name in deep if not path.is_relative_to((file_of(name) or path).parent)]
    assert outside == []


@pytest.mark.parametrize("folder", FOLDERS, ids=place)
def test_a_folder_holds_at_most_12_modules(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_a_module_has_at_least_40_lines_or_a_reason(path: Path) -> None:
    small = len(path.read_text(encoding="utf-8").splitlines()) < 40
    is_command = path.parent.name == "cli"  # one command, one file
    if path.name != "__init__.py" and not is_command:
        assert small == (place(path) in SMALL)
