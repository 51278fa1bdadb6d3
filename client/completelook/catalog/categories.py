"""Category names: what the model knows, and what a user may call it."""

import difflib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from completelook.errors import CategoryError

# Between the parts of a path as shops write it. A slash may also stand within a name.
_SEPARATORS = (re.compile(r"[|>»\u203a→]|::"), re.compile(r"[|>»\u203a→/\\]|::"))


@dataclass(frozen=True)
class CategoryTable:
    """The ordered category names of a model, paths such as `Home & Garden|Decor|Rugs`."""

    names: tuple[str, ...]

    def resolve(self, name: str) -> int:
        """The row of a category, by its exact name, its name in any case, or its last parts alone.

        Whichever of these three fits first decides. The parts of a path may be separated by `|`,
        `>`, `/` and the like. Raises CategoryError.
        """
        if name in self.names:
            return self.names.index(name)
        fitting: list[int] = []
        for parts in paths(name):
            fitting = fitting or self._fitting(parts)
        if len(fitting) == 1:
            return fitting[0]
        raise CategoryError(self._explain(name, fitting))

    def _fitting(self, parts: list[str]) -> list[int]:
        known = [path_parts(name) for name in self.names]
        full = [row for row, own in enumerate(known) if own == parts]
        return full or [row for row, own in enumerate(known) if own[-len(parts) :] == parts]

    def _explain(self, name: str, fitting: list[int]) -> str:
        if fitting:
            fits = _listed([self.names[row] for row in fitting])
            return f"category {name!r} is ambiguous: give one of {fits} in full"
        message = f"unknown category {name!r}: "
        if near := self._near(name):
            message += f"did you mean {_listed(near)}? "
        return f"{message}The model knows {_listed(list(self.names))}"

    def _near(self, name: str) -> list[str]:
        """Names that hold the asked one as a part, or that are spelled nearly like it."""
        parts = path_parts(name)
        by_part: dict[str, list[str]] = {}
        for known in self.names:
            for part in {*path_parts(known), known.casefold()}:
                by_part.setdefault(part, []).append(known)
        spelled = difflib.get_close_matches(parts[-1], by_part) + difflib.get_close_matches(
            name.casefold(), by_part
        )
        return list(dict.fromkeys(known for part in spelled for known in by_part[part]))


def paths(name: str) -> Iterator[list[str]]:
    """The parts of a path in each of the ways in which it may be meant."""
    for separator in _SEPARATORS:
        yield path_parts(name, separator)


def path_parts(name: str, separator: re.Pattern[str] = _SEPARATORS[0]) -> list[str]:
    """The parts of a category's path, without case and spaces around them, and none empty."""
    parts = [part.strip() for part in separator.split(html.unescape(name).casefold())]
    return [part for part in parts if part] or [""]


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
