"""What made a figure: a digest of the code that decides it, so that no figure outlives its code.

The code of a figure is the modules that its command is made of and every module of this project
that these import, by name: of a package only the modules whose names are taken from it. Comments,
docstrings and what `NEUTRAL` lists show in no figure and do not count.
"""

import ast
import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PROJECT = ("completelook", "completelook_build", "completelook_load")
# They write, print or refuse; no figure depends on how.
NEUTRAL = (
    *("completelook.errors", "completelook.files", "completelook.progress"),
    *("completelook_build.errors", "completelook_build.console", "completelook_build.report"),
)


@cache
def code_digest(*modules: str) -> str:
    """64 bits of a SHA-256 over the code of some modules and of what they import, as 16 digits.

    Raises ValueError for a name that is no module of this project.
    """
    found: dict[str, Path] = {}
    wanted = list(modules)
    while wanted:
        name = wanted.pop()
        if name in found or any(f"{name}.".startswith(f"{neutral}.") for neutral in NEUTRAL):
            continue
        path = _path(name)
        if path is None:
            raise ValueError(f"{name!r} is no module of {', '.join(PROJECT)}")
        found[name] = path
        wanted += _imported(path)
    code = "\n".join(f"{name} {_canonical(_parsed(found[name]))}" for name in sorted(found))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def made_by(*modules: str) -> dict[str, str]:
    """What a figure's file keeps: the digest, and for a reader the commit, where git knows it."""
    return {"code": code_digest(*modules), "commit": _commit()}


def is_stale(figures: Mapping[str, Any], *modules: str) -> bool:
    """Whether figures with what `made_by` gave under that name come from other code than today's.

    So do figures that say nothing of their code.
    """
    code: str | None = figures.get("made_by", {}).get("code")
    return code != code_digest(*modules)


def stale_note(figures: Mapping[str, Any], *modules: str, command: str) -> str:
    """A paragraph of Markdown that says so of stale figures, and nothing of others."""
    if not is_stale(figures, *modules):
        return ""
    commit = figures.get("made_by", {}).get("commit")
    version = f"earlier code (commit {commit})" if commit else "earlier code"
    return f"**Made by {version}**, not by today's; `{command}` measures anew.\n\n"


def _commit() -> str:
    """The short commit of the checkout, with a plus where files differ; empty outside of git."""
    git = ("git", "-C", str(Path(__file__).parent))
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + "+" * bool(changes)


def _path(module: str) -> Path | None:
    """The file of a module of this project, a package's being its __init__.py; None for others."""
    root, *parts = module.split(".")
    spec = find_spec(root) if root in PROJECT else None
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent.joinpath(*parts)
    candidates = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((path for path in candidates if path.is_file()), None)


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(path: Path) -> Iterator[str]:
    """The modules of this project that a file imports, anywhere in it."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _path(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _path(node.module):
            for alias in node.names:
                yield _home(node.module, alias.name)


def _home(module: str, name: str) -> str:
    """Where a name that is imported from a module comes from, looking through re-exports."""
    if _path(f"{module}.{name}"):
        return f"{module}.{name}"
    path = _path(module)
    if path is not None and path.name == "__init__.py":
        for node in _parsed(path).body:
            if isinstance(node, ast.ImportFrom) and node.module and _path(node.module):
                for alias in node.names:
                    if name == (alias.asname or alias.name):
                        return _home(node.module, alias.name)
    return module


def _canonical(value: Any) -> str:
    """A syntax tree as text that is the same on every version of Python."""
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    parts = []
    for field, content in ast.iter_fields(value):
        if field == "body" and isinstance(content, list):
            content = [line for line in content if not _is_text(line)]
        # A version adds fields that are empty for what an earlier one can parse.
        if content is not None and content != []:
            parts.append(f"{field}={_canonical(content)}")
    return f"{type(value).__name__}({','.join(parts)})"


def _is_text(line: ast.AST) -> bool:
    """Whether a line is a string alone: a docstring."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
