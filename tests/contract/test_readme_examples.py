# SPDX-License-Identifier: Apache-2.0
"""README.md: what Pacemaker is told to pass lets fences and monitors be told of the same node."""

import re
from pathlib import Path

from fencer.agent.option_input import parse_stdin
from fencer.agent.request_builder import target_name
from fencer.cluster.membership import Membership

NO_FILE = Membership("", (), ("serv-0002",), "")
README = (Path(__file__).parents[2] / "README.md").read_text()


def test_a_monitor_under_pacemaker_is_recorded_under_the_name_of_its_node():
    """Pacemaker passes a resource's own options alone to its monitor: no nodename. pcmk_… it keeps to itself."""
    command = re.search(r"pcs stonith create (?:.*\\\n)*.*", README)
    assert command
    given = dict(re.findall(r"(\w+)=(\S+)", command[0].partition(" meta ")[0]))
    passed = [f"{name}={value}" for name, value in given.items() if not name.startswith("pcmk_")]
    monitor = parse_stdin("\n".join([*passed, "action=monitor", ""]))
    assert target_name(monitor.values, NO_FILE) == given["pcmk_host_list"]
    fence = parse_stdin("\n".join([*passed, "action=reboot", f"nodename={given['pcmk_host_list']}", ""]))
    assert target_name(fence.values, NO_FILE) == target_name(monitor.values, NO_FILE)
