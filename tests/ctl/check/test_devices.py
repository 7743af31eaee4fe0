# SPDX-License-Identifier: Apache-2.0
"""The fence devices of a configuration file: for which nodes Pacemaker takes each."""

import pytest

from fencer.ctl.check.devices import host_names


@pytest.mark.parametrize(
    ("host_list", "host_map", "names"),
    [
        ("", "", ()),
        ("serv-0001,serv-0002;serv-0003 serv-0001", "", ("serv-0001", "serv-0002", "serv-0003")),
        ("", "serv-0001:1;serv-0002:2", ("serv-0001", "serv-0002")),
        ("", " serv-0001=1\tserv-0002=2 ", ("serv-0001", "serv-0002")),
        ("", "serv-0001:1,2;serv-0002:3", ("serv-0001", "serv-0002")),
        ("", "serv-0001:bay:1;serv-0002:fd00::2", ("serv-0001", "bay", "serv-0002", "fd00")),
        ("", "serv-0001:a=b;serv-0002=c:d", ("serv-0001", "a", "serv-0002", "c")),
        ("", r"serv-0001:bay\:1", ("serv-0001",)),
        ("serv-0001", "serv-0001:1;;serv-0002:2;", ("serv-0001", "serv-0002")),
        ("", "serv-0001;:2;serv-0003:", ()),
    ],
)
def test_nodes_of_a_host_list_and_a_host_map(host_list: str, host_map: str, names: tuple[str, ...]):
    assert host_names(host_list, host_map) == names
