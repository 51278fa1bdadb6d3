"""What reports are made of: Markdown tables and pages."""

from completelook_build.report.markdown import markdown_table, replace_blocks

__all__ = ["markdown_table", "replace_blocks"]
