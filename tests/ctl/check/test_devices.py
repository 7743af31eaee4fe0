# SPDX-License-Identifier: Apache-2.0
"""The fence devices of a configuration file: for which nodes Pacemaker takes each."""

import pytest

from fencer.ctl.check.devices import host_names, read_differently


@pytest.mark.parametrize(
    ("host_list", "host_map", "names"),
    [
        ("", "", ()),
        ("serv-0001,serv-0002;serv-0003 serv-0001", "", ("serv-0001", "serv-0002", "serv-0003")),
        ("", "serv-0001:1;serv-0002:2", ("serv-0001", "serv-0002")),
        ("", " serv-0001=1\tserv-0002=2 ", ("serv-0001", "serv-0002")),
        ("", "serv-0001:1,2;serv-0002:3", ("serv-0001", "serv-0002")),
        ("", "serv-0001:bay:1;serv-0002:fd00::2", ("serv-0001", "serv-0002")),
        ("", "serv-0001:a=b;serv-0002=c:d", ("serv-0001", "serv-0002")),
        ("", r"serv-0001:bay\:1", ("serv-0001",)),
        ("serv-0001", "serv-0001:1;;serv-0002:2;", ("serv-0001", "serv-0002")),
        ("", "serv-0001;:2;serv-0003:", ()),
    ],
)
def test_nodes_of_a_host_list_and_a_host_map(host_list: str, host_map: str, names: tuple[str, ...]):
    assert host_names(host_list, host_map) == names


@pytest.mark.parametrize(
    ("host_map", "found"),
    [
        ("serv-0001:1;serv-0002=2", []),
        ("serv-0001:bay:1", [("serv-0001:bay:1", "bay")]),
        ("serv-0001:1 serv-0002:fd00::2", [("serv-0002:fd00::2", "fd00")]),
        ("serv-0001=a=b", [("serv-0001=a=b", "a")]),
        (r"serv-0001:bay\:1", []),
        ("serv-0001:bay\\", []),
        (":a:b;serv-0001", []),
    ],
)
def test_entries_that_an_older_pacemaker_reads_differently(host_map: str, found: list[tuple[str, str]]):
    assert list(read_differently(host_map)) == found
