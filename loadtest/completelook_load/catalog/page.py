"""The figures of a run, and the part of docs/catalog.md that is made of them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Self

from completelook.files import write_text
from completelook_build.report import made_by, markdown_table, replace_blocks, stale_note

PAGE = Path("docs/catalog.md")
FIGURES = Path("docs/benchmarks/catalog/figures.json")
# What decides the figures.
MODULES = (
    *(f"completelook.storage.{name}" for name in ("seal", "content", "nearest", "writer")),
    "completelook_load.catalog.measures",
    "completelook_load.catalog.shop",
)


@dataclass(frozen=True)
class Row:
    """A ratio, or another number, and what it must hold."""

    text: str
    values: Sequence[float]  # one a round
    wanted: float
    is_ceiling: bool = True
    unit: str = ""

    @classmethod
    def ratio(
        cls, text: str, pairs: Iterable[tuple[float, float]], wanted: float, **options: Any
    ) -> Self:
        """Of ours to the other, round by round."""
        return cls(text, [ours / other for ours, other in pairs], wanted, **options)

    def cells(self) -> list[str]:
        value = median(self.values)
        held = value <= self.wanted if self.is_ceiling else value >= self.wanted
        found = f"{value:.3g}{self.unit}"
        if len(self.values) > 1:
            found += f" ({min(self.values):.3g} to {max(self.values):.3g})"
        bound = "at most" if self.is_ceiling else "at least"
        return [
            self.text,
            found,
            f"{bound} {self.wanted:g}{self.unit}",
            "holds" if held else "MISSED",
        ]


@dataclass(frozen=True)
class Figures:
    """A run on one machine."""

    machine: Mapping[str, str]
    rows: Sequence[Row]
    made_by: Mapping[str, str] = field(default_factory=lambda: made_by(*MODULES))

    @classmethod
    def read(cls, path: Path) -> "Figures":
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**row) for row in content["rows"]]
        return cls(content["machine"], rows, content["made_by"])

    def with_rows(self, rows: Sequence[Row]) -> "Figures":
        """These, and rows that were measured alone, in place of earlier ones of the same text."""
        texts = {row.text for row in rows}
        return replace(self, rows=[*(row for row in self.rows if row.text not in texts), *rows])

    def write(self, path: Path) -> None:
        """Keep the run, in place of an earlier one."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")


def write_page(page: Path, figures: Path) -> None:
    """Fill the page's block with the figures; the text around it stays. Raises DataError."""
    blocks = {"benchmark": "\n".join(_lines(Figures.read(figures))) + "\n"}
    write_text(page, replace_blocks(page.read_text(encoding="utf-8"), blocks))


def _lines(figures: Figures) -> Iterator[str]:
    stale = stale_note({"made_by": figures.made_by}, *MODULES, command="make bench-catalog")
    yield f"{stale}{'; '.join(f'{name}: {value}' for name, value in figures.machine.items())}."
    yield ""
    yield markdown_table(
        ("", "found", "wanted", ""), (row.cells() for row in figures.rows)
    ).rstrip()
