"""What reports are made of: Markdown, grids of pictures, and what made their figures."""

from completelook_build.report.html_page import counted, in_100, render_page
from completelook_build.report.markdown import markdown_table, replace_blocks
from completelook_build.report.picture_grid import Cell, Grid, save_png
from completelook_build.report.provenance import code_digest, is_stale, made_by, stale_note

__all__ = [
    "Cell",
    "Grid",
    "code_digest",
    "counted",
    "in_100",
    "is_stale",
    "made_by",
    "markdown_table",
    "render_page",
    "replace_blocks",
    "save_png",
    "stale_note",
]
