# SPDX-License-Identifier: Apache-2.0
"""read_command_line against the standard library's GNU getopt: same options, same rest, same words of complaint."""

import getopt
import random

from fencer.agent.command_line import read_command_line
from fencer.agent.options import OPTIONS
from fencer.errors import UsageError

LETTERS = "".join(row.letter + (":" if row.argument else "") for row in OPTIONS if row.letter)
LONGS = [row.long + ("=" if row.argument else "") for row in OPTIONS]
NAMES = {f"--{row.long}": row.name for row in OPTIONS} | {f"-{row.letter}": row.name for row in OPTIONS if row.letter}
WORDS = [
    *("--", "-", "", "x", "=", "-vv", "-vq", "-qo", "-ooff", "-Z", "--nosuch", "--nosuch=1", "-é", "--=1"),
    *(f"--{row.long}" for row in OPTIONS),
    *(f"--{row.long[:length]}" for row in OPTIONS for length in (1, 2, 3, 5)),
    *(f"--{row.long}={value}" for row in OPTIONS for value in ("", "y", "a=b")),
    *(f"-{row.letter}" for row in OPTIONS if row.letter),
]


def by_getopt(argv: list[str]) -> object:
    try:
        given, rest = getopt.gnu_getopt(argv, LETTERS, LONGS)
    except getopt.GetoptError as error:
        return error.msg.partition("; possible options: ")[0]  # Python 3.14 lists them
    return [(NAMES[option], text) for option, text in given], rest


def ours(argv: list[str]) -> object:
    try:
        given, rest = read_command_line(argv)
    except UsageError as error:
        return str(error)
    return [(row.name, text) for row, text in given], rest


def test_each_word_alone_and_before_a_value():
    for word in WORDS:
        for argv in ([word], [word, "value"], ["first", word, "--", word]):
            assert ours(list(argv)) == by_getopt(list(argv)), argv


def test_random_lines():
    chance = random.Random(4)
    for _ in range(20000):
        argv = [chance.choice(WORDS) for _ in range(chance.randrange(6))]
        assert ours(list(argv)) == by_getopt(list(argv)), argv
