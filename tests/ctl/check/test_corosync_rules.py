# SPDX-License-Identifier: Apache-2.0
"""corosync.conf: quorum, votes and addresses."""

import re
from pathlib import Path

import pytest

from fencer.ctl.check.corosync_rules import corosync_findings

GOOD = Path(__file__).parents[1] / "good"
QUORUM = "  two_node: 1\n"
QDEVICE = "  device {\n    model: net\n  }\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "found"),
    [
        (QUORUM, QUORUM + QDEVICE, "two_node: 1", "two_node beside a quorum device: corosync does not start"),
        (QUORUM, QDEVICE, "", ""),
        (QUORUM, QDEVICE.replace("model", "votes"), "quorum {", "two nodes without two_node"),
        (QUORUM, "  expected_votes: 3\n  device {\n    votes: 1\n  }\n" + QUORUM, "", ""),
        (QUORUM, QUORUM + "  auto_tie_breaker: 1\n", "auto_tie", "two_node beside auto_tie_breaker: corosync drops"),
        (QUORUM, "  auto_tie_breaker: 1\n", "auto_tie", "two nodes with auto_tie_breaker: one of them has no quorum"),
        (QUORUM, "  auto_tie_breaker: 1\n" + QDEVICE, "", ""),
        (QUORUM, "}\nquorum {\n" + QUORUM, "", ""),
        (QUORUM, "  two_node: 0\n}\nquorum {\n" + QUORUM, "", ""),
        (QUORUM, QUORUM + "}\nquorum {\n  two_node: 0\n", "two_node: 0", "two nodes without two_node"),
        (QUORUM, QUORUM + "  expected_votes: 2\n", "", ""),
        ("nodeid: 2\n", "nodeid: 2\n    quorum_votes: 3\n", "", ""),
        ("nodeid: 2\n", "nodeid: 01\n", "nodeid: 01", "nodes serv-0001 and serv-0002 have the same nodeid 1"),
        ("10.9.0.2", "127.0.0.2", "ring0_addr: 127", "ring0_addr of node serv-0002: 127.0.0.2 is the node itself"),
        ("10.9.0.2", "::1", "ring0_addr: ::1", "ring0_addr of node serv-0002: ::1 is the node itself"),
        ("10.9.0.2", "127.example.com", "", ""),
    ],
)
def test_a_corosync_conf(old: str, new: str, line: str, found: str):
    good = (GOOD / "corosync.conf").read_text()
    assert old in good
    text = good.replace(old, new, 1)
    told = corosync_findings(text, "F")
    assert [each.text.startswith(found) for each in told] == ([True] if found else []), told
    assert all(line in text.split("\n")[each.line - 1] for each in told)


@pytest.mark.parametrize(
    ("votes", "found"),
    [("0", []), ("1", ["expected_votes is 2, but the nodes have 3: each half of a split cluster is quorate"])],
)
def test_expected_votes_are_compared_with_the_votes_of_the_nodes(votes: str, found: list[str]):
    third = f"  node {{\n    name: c\n    nodeid: 3\n    ring0_addr: c\n    quorum_votes: {votes}\n  }}\n}}\nquorum {{"
    text = (GOOD / "corosync.conf").read_text()
    text = re.sub(r"}\s+quorum {", third, text, count=1)
    text = text.replace(QUORUM, "  expected_votes: 2\n")
    assert [each.text for each in corosync_findings(text, "F")] == found
