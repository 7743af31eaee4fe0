# SPDX-License-Identifier: Apache-2.0
"""Keys and reservation as read from a real target, after the agent has registered nodes and fenced one."""

import os
from pathlib import Path

import pytest

from fencer.ctl.sources.luns import SharedStorage, read_luns
from fencer.errors import FenceError
from tests.agent_storage.nodes import NAMES, Node
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]


def test_the_keys_of_both_nodes_and_what_is_left_of_a_fenced_one(tmp_path: Path):
    with Target(luns=2) as target:
        urls = [target.url(1), target.url(2)]
        nodes = [Node(number, tmp_path, urls) for number in range(2)]
        owners = {node.name: node.key for node in nodes}
        storage = SharedStorage("", tuple(urls))
        before = read_luns(storage, owners, NAMES[0])
        assert [(lun.keys, lun.reservation, lun.own, lun.problem) for lun in before] == [((), "", False, "")] * 2

        for node in nodes:
            assert node.call("on", node.name).status == 0
        for lun in read_luns(storage, owners, NAMES[0]):
            assert {key.node for key in lun.keys} == set(NAMES)
            assert [key.node for key in lun.keys if key.holder] == [NAMES[0]]
            assert (lun.reservation, lun.own) == ("write exclusive registrants only", True)

        assert nodes[1].call("off", NAMES[0]).status == 0
        for lun in read_luns(storage, owners, NAMES[0]):
            assert [key.node for key in lun.keys] == [NAMES[1]]
            assert lun.own is False
        (other, _) = read_luns(storage, {}, "")
        assert (other.own, [key.node for key in other.keys]) == (None, [""])


def test_a_target_that_is_gone_is_a_problem_and_no_empty_list():
    with Target() as target:
        url = target.url(1)
    (lun,) = read_luns(SharedStorage("", (url,)), {}, NAMES[0])
    assert lun.problem
    with pytest.raises(FenceError, match=r"no physical volume|no pvs"):
        read_luns(SharedStorage("no_such_group"), {}, NAMES[0])
