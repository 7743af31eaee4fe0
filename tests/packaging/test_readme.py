# SPDX-License-Identifier: Apache-2.0
"""Every block of commands in README.md is run somewhere, or it is said why not."""

from tests.packaging.readme import PLAYS, README, blocks, play_of


def test_each_block_has_a_row_and_each_row_a_block() -> None:
    found = [play_of(block) for block in blocks(README.read_text())]
    assert None not in found
    assert set(found) == set(PLAYS)


def test_comments_are_no_part_of_a_command_and_continued_lines_are() -> None:
    text = "# Page\n\n    one --two      # a comment\n    three \\\n        four\n\ntext\n\n    five\n\nend\n"
    assert [block.commands for block in blocks(text)] == [("one --two", "three four"), ("five",)]
