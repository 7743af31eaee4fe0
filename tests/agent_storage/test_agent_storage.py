# SPDX-License-Identifier: Apache-2.0
"""What a caller gets from the whole agent on shared LUNs, and what is on the LUNs afterwards."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from fencer.storage.transport import ScsiStatus
from tests.agent_storage.nodes import NAMES, Answer, Node, Witness, bmc_options, fenced, finish, listing
from tests.rig.bmc import Bmc
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]
KILLS = int(os.environ.get("KILLS", "5"))


def test_off_isolates_every_lun_and_the_victims_writes_are_refused(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    kernels = [Witness(url, "kernel", one.key) for url in target.urls]
    assert [kernel.write() for kernel in kernels] == [ScsiStatus.GOOD] * 2
    answer = two.call("off", one.name)
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert "proved by storage" in answer.stderr
    assert "plain PREEMPT" in answer.stderr  # tgtd has no PREEMPT AND ABORT
    assert [kernel.write() for kernel in kernels] == [ScsiStatus.RESERVATION_CONFLICT] * 2
    assert fenced(target, one)
    again = two.typed("off", one.name)
    assert (again.status, again.stdout) == (0, "Success: Already OFF\n"), again.stderr
    assert two.call("status", one.name).status == 2
    assert two.call("status", two.name).status == 0
    assert two.call("monitor", one.name).status == 0
    for kernel in kernels:
        kernel.close()


def test_a_fenced_node_loses_every_fence_and_never_registers_again(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert two.call("reboot", one.name).stdout == "Success: Rebooted\n"
    before = [listing(url) for url in target.urls]
    lost = one.call("off", two.name)
    assert (lost.status, lost.stdout) == (1, "")
    assert "the fence race is lost, nothing was powered off" in lost.stderr
    for _ in range(2):  # marker rules over two runs
        refused = one.unfence()
        assert refused.status == 1
        assert "this node was fenced" in refused.stderr
    assert [listing(url) for url in target.urls] == before, "the loser wrote something"
    one.forget()  # a reboot
    assert one.unfence().status == 0
    assert not fenced(target, one)


def test_a_node_that_was_fenced_says_so_after_its_reboot(target: Target, nodes: tuple[Node, Node]) -> None:
    """Without corosync it is unknown whether the nodes have met since: then no fence is refused."""
    one, two = nodes
    assert two.call("reboot", one.name).status == 0
    one.reboot()
    record = one.state_dir / "fenced.json"
    assert not record.exists()
    for said in (one.unfence(), one.call("monitor", two.name)):
        assert said.status == 0, said.stderr
        assert f"this node was fenced by the node with key {two.key}" in said.stderr
        assert str(record) in said.stderr
    off = one.call("off", two.name)
    assert off.status == 0, off.stderr
    assert "a fence of it goes on all the same" in off.stderr
    assert fenced(target, two)
    assert not record.exists()


def test_re_register_overrides(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    assert two.call("off", one.name).status == 0
    refused = one.call("on", one.name, re_register=1)
    assert refused.status == 1
    assert refused.stderr.startswith("fence_halvm: ERROR: re_register: only for a person on the command line")
    assert fenced(target, one), "not from a cluster's configuration"
    assert one.typed("on", one.name, "--re-register").status == 0


def test_a_node_that_was_never_unfenced_writes_nothing(target: Target, tmp_path: Path) -> None:
    two = Node(1, tmp_path, target.urls)
    before = [listing(url) for url in target.urls]
    answer = two.call("off", NAMES[0])
    assert (answer.status, answer.stdout) == (1, "")
    assert "never unfenced" in answer.stderr
    assert [listing(url) for url in target.urls] == before


def test_monitor_of_a_node_that_was_never_unfenced(target: Target, tmp_path: Path) -> None:
    """A cluster manager monitors before it unfences; a person asks whether a fence would work now."""
    two = Node(1, tmp_path, target.urls)
    managed = two.call("monitor", NAMES[0])
    assert managed.status == 0, managed.stderr
    assert "WARNING" in managed.stderr
    assert "not registered" in managed.stderr
    typed = two.typed("monitor", NAMES[0])
    assert typed.status == 1
    assert "a fence fails while this node is not registered: run fence_halvm -o on on it (unfence)" in typed.stderr


def test_monitor_is_silent_where_all_is_well(nodes: tuple[Node, Node]) -> None:
    """Also about what the target can not do: Pacemaker would log that as a warning each minute."""
    one, two = nodes
    answer = one.call("monitor", two.name, verbose=0)
    assert (answer.status, answer.stderr) == (0, "")
    typed = one.typed("monitor", two.name)
    assert typed.status == 0
    assert "no APTPL" in typed.stderr


@pytest.mark.parametrize(("proof", "status"), [("any", 0), ("power", 1), ("all", 1)])
def test_a_silent_bmc_is_a_warning_where_storage_would_prove_the_fence(
    nodes: tuple[Node, Node], proof: str, status: int
) -> None:
    one, two = nodes
    answer = one.call("monitor", two.name, ip="127.0.0.1", ipport=9, proof=proof, deadline=14)
    assert answer.status == status
    assert ("WARNING: 127.0.0.1: " if status == 0 else "ERROR: 127.0.0.1: ") in answer.stderr


def test_a_lun_that_one_node_cannot_name_leaves_the_race_undecided(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    two.urls = [*target.urls, target.url(9)]
    answer = two.call("off", one.name, deadline=14)
    assert answer.status == 1
    assert "cannot be told" in answer.stderr
    assert not fenced(target, one)


def test_two_entries_for_one_lun_are_refused(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    two.urls = [target.url(1), target.url(1).replace("127.0.0.1", "127.0.0.1", 1)]
    answer = two.call("off", one.name)
    assert answer.status == 1
    assert not fenced(target, one)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"key": "0"}, "key: 0 is no reservation key"),
        ({"key": "5", "local_key": "5"}, "own key"),
        ({"plug": "serv-0002"}, "this node"),
        ({"plug": "serv-0009"}, "no node serv-0009"),
        ({"devices": "/dev/null"}, "devices: /dev/null"),
        ({"devices": "iscsi://nowhere"}, "is not an iSCSI URL"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_sent(
    nodes: tuple[Node, Node], target: Target, more: dict[str, str], says: str
) -> None:
    before = [listing(url) for url in target.urls]
    answer = nodes[1].call("off", more.pop("plug", "serv-0001"), **more)
    assert (answer.status, answer.stdout) == (1, "")
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [listing(url) for url in target.urls] == before


# --- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_at_any_point_and_called_again_it_completes(target: Target, nodes: tuple[Node, Node], bmc: Bmc) -> None:
    """The verdict of the second call is right, and what it says is so. KILLS=100 for the whole of it."""
    one, two = nodes
    dice = random.Random(int(os.environ.get("KILL_SEED", "7")))
    for _ in range(KILLS):
        bmc.power = "on"
        process = two.start("reboot", one.name, proof="all", **bmc_options(bmc))
        time.sleep(dice.uniform(0.0, 0.45))
        process.send_signal(signal.SIGKILL)
        finish(process)
        answer: Answer = two.call("reboot", one.name, proof="all", **bmc_options(bmc))
        assert (answer.status, answer.stdout) == (0, "Success: Rebooted\n"), answer.stderr
        assert fenced(target, one)
        assert bmc.power == "on"
        one.forget()
        assert one.unfence().status == 0
