"""Markdown tables, and the blocks of a page that a program writes."""

import pytest
from completelook_build.errors import DataError
from completelook_build.report import markdown_table, replace_blocks


def test_the_first_column_is_text_and_the_others_are_figures():
    table = markdown_table(["name", "p50", "p95"], [["backbone", "1.0", "2.0"]])
    assert table == "| name | p50 | p95 |\n| --- | ---: | ---: |\n| backbone | 1.0 | 2.0 |\n"


def test_every_column_may_say_how_it_is_aligned():
    assert markdown_table(["a", "b"], [], alignment="rl").splitlines()[1] == "| ---: | --- |"


def test_a_bar_or_a_line_break_in_a_cell_breaks_no_row():
    table = markdown_table(["a|b"], [["Home|Decor\nRugs"]])
    assert table.splitlines() == [r"| a\|b |", "| --- |", r"| Home\|Decor Rugs |"]


@pytest.mark.parametrize("row", [["1"], ["1", "2", "3"]])
def test_a_row_of_another_length_is_refused(row):
    with pytest.raises(ValueError, match="expected 2 cells"):
        markdown_table(["a", "b"], [row])


def test_a_block_is_replaced_as_it_stands_and_the_text_around_it_stays():
    page = "Before\n<!-- begin one -->\nold\n<!-- end one -->\nAfter\n"
    once = replace_blocks(page, {"one": "new \\1\n"})
    assert once == "Before\n<!-- begin one -->\nnew \\1\n<!-- end one -->\nAfter\n"
    assert replace_blocks(once, {"one": "new \\1\n"}) == once


def test_a_page_without_a_block_names_the_lines_that_it_misses():
    with pytest.raises(DataError, match="begin one"):
        replace_blocks("<!-- begin other -->\n<!-- end other -->\n", {"one": "new\n"})
