"""Category names: what the model knows, and what a user may call it."""

import difflib
from dataclasses import dataclass

from completelook.contract import CATEGORY_SEPARATOR
from completelook.errors import CategoryError


@dataclass(frozen=True)
class CategoryTable:
    """The ordered category names of a model, paths such as `Home & Garden|Decor|Rugs`."""

    names: tuple[str, ...]

    def resolve(self, name: str) -> int:
        """The row of a category, by its exact name, its name in any case, or its last parts alone.

        Whichever of these three fits first decides. Raises CategoryError.
        """
        if name in self.names:
            return self.names.index(name)
        parts = _parts(name)
        full = [row for row, known in enumerate(self.names) if _parts(known) == parts]
        tails = [
            row for row, known in enumerate(self.names) if _parts(known)[-len(parts) :] == parts
        ]
        fitting = full or tails
        if len(fitting) == 1:
            return fitting[0]
        raise CategoryError(self._explain(name, fitting))

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
        parts = _parts(name)
        by_part: dict[str, list[str]] = {}
        for known in self.names:
            for part in {*_parts(known), known.casefold()}:
                by_part.setdefault(part, []).append(known)
        spelled = difflib.get_close_matches(parts[-1], by_part) + difflib.get_close_matches(
            name.casefold(), by_part
        )
        return list(dict.fromkeys(known for part in spelled for known in by_part[part]))


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.casefold().split(CATEGORY_SEPARATOR)]


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
