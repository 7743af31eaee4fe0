# SPDX-License-Identifier: Apache-2.0
"""A line that is no TOML is answered by the line to write instead, and that line mends it."""

import pytest

from fencer.errors import UsageError
from fencer.sidecar.config import parse_settings
from fencer.sidecar.toml_hints import hint

LEAST = 'vg = "shared_vg"\n'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("local_node = serv-0001", "put the text in quotes"),
        ("watchdog = /dev/watchdog", "put the text in quotes"),
        ("watchdog=/dev/watchdog0   # ours", "put the text in quotes"),
        ("local_key = abc1", "put the text in quotes"),
        ("local_node = \u201cserv-0001\u201d", "put the text in straight quotes"),
        ("local_node = \u2018serv-0001\u2019", "put the text in straight quotes"),
        ('local_node = "serv-0001', "close the quotes"),
        ("local_node: serv-0001", "write = between name and value"),
        ("local_node serv-0001", "write = between name and value"),
        ("grace_s: 80", "write = between name and value"),
        ("grace_s = 80s", "write the bare value"),
        ("aptpl = yes", "write the bare value"),
        ("aptpl = True", "write the bare value"),
        ("require = any", "put the text in quotes"),
        ("; a comment", "comments begin with #"),
    ],
)
def test_the_line_that_is_named_mends_the_file(line: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(f"{LEAST}{line}\n", "w.toml")
    (complaint,) = str(caught.value).splitlines()
    assert complaint.startswith("w.toml line 2: ") and words in complaint
    _, _, instead = complaint.partition(f"{words}: ")
    parse_settings(f"{LEAST}{instead}\n", "w.toml")


@pytest.mark.parametrize(
    "line", ["devices = /dev/sdb", "devices = [/dev/sdb, /dev/sdc]", "devices = \u201c/dev/sdb\u201d"]
)
def test_a_list_is_mended_as_a_list(line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(f"{line}\n", "w.toml")
    instead = str(caught.value).rpartition(": ")[2]
    assert parse_settings(f"{instead}\n").devices[0] == "/dev/sdb"


@pytest.mark.parametrize("line", ["grace_s = soon", "aptpl = perhaps"])
def test_what_cannot_be_guessed_is_told_by_the_setting(line: str) -> None:
    with pytest.raises(UsageError, match=r"give (seconds from 0 to 3600|true or false)"):
        parse_settings(f"{LEAST}{line}\n", "w.toml")


@pytest.mark.parametrize("line", ["", "=", "[", "]]", "= 3", "   "])
def test_what_is_nothing_has_no_hint(line: str) -> None:
    assert hint(line, str) is None


def test_what_stands_under_a_heading_is_looked_at_all_the_same() -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings(f"[watchdogd]\n{LEAST}grace = 3\n", "w.toml")
    heading, setting = str(caught.value).splitlines()
    assert "leave the heading out" in heading and "did you mean grace_s?" in setting
