"""Grids of captioned pictures as one image: what the sheets are drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from completelook.explain import shrunk
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

_PAGE, _CARD, _INK, _QUIET = "#f7f5f2", "#ffffff", "#22201d", "#7a746c"
_LINE, _ACCENT = "#e6e1da", "#b4552d"
_MARGIN, _GAP, _ROW_GAP, _LINE_HEIGHT = 28, 12, 28, 17
_TITLE_SIZE, _TEXT_SIZE = 26, 12


@dataclass(frozen=True)
class Cell:
    """A picture with lines of text below it; without a picture, a card that says so."""

    picture: Image.Image | None
    caption: tuple[str, ...] = ()
    marked: bool = False


@dataclass(frozen=True)
class Grid:
    """Rows of cells under headings, and what stands above them."""

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    side: int = 170  # pixels of a cell's picture

    def draw(self) -> Image.Image:
        """The grid as one picture; texts too long for their cell are shortened."""
        rows = [[_fitted(cell, self.side) for cell in row] for row in self.rows]
        picture_heights = [_tallest(row, self.side) for row in rows]
        width = 2 * _MARGIN + len(self.headings) * (self.side + _GAP) - _GAP
        notes = _wrapped(self.note, width - 2 * _MARGIN)
        top = _MARGIN + _TITLE_SIZE + 28 + len(notes) * _LINE_HEIGHT
        captions = sum(max(len(cell.caption) for cell in row) for row in rows) * _LINE_HEIGHT
        height = top + 2 * _LINE_HEIGHT + sum(picture_heights) + captions + len(rows) * _ROW_GAP
        sheet = Image.new("RGB", (width, height + _MARGIN - _GAP), _PAGE)
        self._write_head(ImageDraw.Draw(sheet), notes, top, width - 2 * _MARGIN)
        top += 2 * _LINE_HEIGHT
        for row, picture_height in zip(rows, picture_heights, strict=True):
            for column, cell in enumerate(row):
                self._place(sheet, cell, (self._left(column), top), picture_height)
            most_lines = max(len(cell.caption) for cell in row)
            top += picture_height + most_lines * _LINE_HEIGHT + _ROW_GAP
        return sheet

    def _left(self, column: int) -> int:
        return _MARGIN + column * (self.side + _GAP)

    def _write_head(
        self, draw: ImageDraw.ImageDraw, notes: Sequence[str], top: int, width: int
    ) -> None:
        title = shortened(self.title, _TITLE_SIZE, width)
        draw.text((_MARGIN, _MARGIN - 4), title, _INK, _font(_TITLE_SIZE))
        for number, line in enumerate(notes):
            y = _MARGIN + _TITLE_SIZE + 14 + number * _LINE_HEIGHT
            draw.text((_MARGIN, y), line, _QUIET, _font(_TEXT_SIZE))
        for column, heading in enumerate(self.headings):
            text = shortened(heading, _TEXT_SIZE, self.side)
            draw.text((self._left(column), top + 8), text, _INK, _font(_TEXT_SIZE, bold=True))

    def _place(self, sheet: Image.Image, cell: Cell, corner: tuple[int, int], height: int) -> None:
        """Draw a cell: its card, the picture in the middle of it, the caption below."""
        draw = ImageDraw.Draw(sheet)
        (left, top), side = corner, self.side
        color = _ACCENT if cell.marked else _LINE
        edge = 3 if cell.marked else 1
        frame = (left - edge, top - edge, left + side + edge - 1, top + height + edge - 1)
        draw.rectangle(frame, _CARD, outline=color, width=edge)
        if cell.picture is None:
            middle = (left + side // 2, top + height // 2)
            draw.text(middle, "cannot be opened", _QUIET, _font(_TEXT_SIZE), anchor="mm")
        else:
            width, picture_height = cell.picture.size
            inner = (left + (side - width) // 2, top + (height - picture_height) // 2)
            sheet.paste(cell.picture, inner)
        for number, line in enumerate(cell.caption):
            place = (left, top + height + 6 + number * _LINE_HEIGHT)
            text_color = _ACCENT if cell.marked else _QUIET if number else _INK
            draw.text(place, shortened(line, _TEXT_SIZE, side), text_color, _font(_TEXT_SIZE))


def _fitted(cell: Cell, side: int) -> Cell:
    """The cell with its picture no larger than its place."""
    return cell if cell.picture is None else replace(cell, picture=shrunk(cell.picture, side))


def _tallest(row: Sequence[Cell], side: int) -> int:
    heights = [cell.picture.height for cell in row if cell.picture is not None]
    return max(heights, default=side)


def save_png(picture: Image.Image, path: Path) -> None:
    """Write beside the file and rename it, making the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    try:
        picture.save(beside, "PNG", optimize=True)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def shortened(text: str, size: int, width: int) -> str:
    """The text, cut and ended by an ellipsis where it is wider than `width` pixels."""
    font = _font(size, bold=True)  # the wider of the two
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines no wider than `width` pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(_TEXT_SIZE).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: the same on every machine."""
    weight = "bold" if bold else "normal"
    return ImageFont.truetype(findfont(f"DejaVu Sans:weight={weight}"), size)
