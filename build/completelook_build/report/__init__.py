"""What reports are made of: Markdown, and what made their figures."""

from completelook_build.report.markdown import markdown_table, replace_blocks
from completelook_build.report.provenance import code_digest, is_stale, made_by, stale_note

__all__ = [
    "code_digest",
    "is_stale",
    "made_by",
    "markdown_table",
    "replace_blocks",
    "stale_note",
]
