# SPDX-License-Identifier: Apache-2.0
"""Whole calls with a BMC and shared LUNs: what each proves, and what a lost race leaves alone."""

import os
import signal
import socket
import sys
import time

import pytest

from tests.agent_storage.nodes import CLUSTER, Node, bmc_options, dead_bmc, fenced, finish
from tests.rig.bmc import Bmc
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]


def test_power_and_storage_both_prove(target: Target, nodes: tuple[Node, Node], bmc: Bmc) -> None:
    bmc.power = "on"
    answer = nodes[1].call("off", "serv-0001", proof="all", **bmc_options(bmc))
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert "proved by power" in answer.stderr
    assert "and storage" in answer.stderr
    assert bmc.power == "off"
    assert fenced(target, nodes[0])


_LEAVES_FILES_OPEN = """
import os, resource, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
null = os.open(os.devnull, os.O_RDWR)
for descriptor in range(3, 1100):
    os.dup2(null, descriptor)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("action", ["off", "reboot", "on", "monitor", "status"])
def test_a_caller_that_has_left_a_thousand_files_open(action: str, nodes: tuple[Node, Node], bmc: Bmc) -> None:
    bmc.power = "on"
    nodes[1].python = [sys.executable, "-c", _LEAVES_FILES_OPEN, "-P"]
    options = bmc_options(bmc) | {"password_script": "echo ADMIN"}
    del options["password"]
    answer = nodes[1].call(action, "serv-0002" if action == "on" else "serv-0001", **options)
    assert answer.status == 0, answer.stderr


def test_an_undecidable_race_touches_no_power(target: Target, nodes: tuple[Node, Node], bmc: Bmc) -> None:
    bmc.power = "on"
    before = bmc.commands()
    target.stop()
    began = time.monotonic()
    try:
        answer = nodes[1].call("reboot", "serv-0001", deadline=2, **bmc_options(bmc))
    finally:
        target.resume()
    assert time.monotonic() - began < 2 + 10  # Python's start may take any time beside other tests
    assert answer.status == 1
    assert bmc.commands() == before
    assert bmc.power == "on"


def test_a_lost_race_touches_no_power(nodes: tuple[Node, Node], bmc: Bmc) -> None:
    bmc.power = "on"
    before = bmc.commands()
    assert nodes[0].call("off", "serv-0002").status == 0
    answer = nodes[1].call("reboot", "serv-0001", **bmc_options(bmc))
    assert answer.status == 1
    assert "lost" in answer.stderr
    assert bmc.commands() == before


def write_methods(
    node: Node, methods: tuple[str, ...], bmc_address: str, bmc_port: int, *, disk_s: float = 30.0
) -> None:
    """serv-0001 is fenced by these methods, each a list of devices: disk, bmc. disk_s: the deadline of disk."""
    inside = "".join(
        f'<method name="{number}">' + "".join(f'<device name="{name}"/>' for name in method.split()) + "</method>"
        for number, method in enumerate(methods)
    )
    node.conf.write_text(
        f'<cluster name="{CLUSTER}" config_version="2"><clusternodes>'
        f'<clusternode name="serv-0001" nodeid="1"><fence>{inside}</fence></clusternode>'
        '<clusternode name="serv-0002" nodeid="2"/></clusternodes><fencedevices>'
        f'<fencedevice name="disk" agent="fence_halvm" devices="{",".join(node.urls)}" deadline="{disk_s:g}"/>'
        f'<fencedevice name="bmc" agent="fence_halvm" ipaddr="{bmc_address}" ipport="{bmc_port}" login="ADMIN" '
        'passwd="ADMIN" deadline="10"/></fencedevices></cluster>'
    )


@pytest.mark.parametrize("methods", [("disk", "bmc"), ("disk bmc", "bmc"), ("disk", "disk", "bmc")], ids=str)
def test_a_lost_race_leads_to_no_other_method(nodes: tuple[Node, Node], methods: tuple[str, ...]) -> None:
    """Power alone would shoot the node that won."""
    one, two = nodes
    assert one.call("off", two.name).status == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bmc:
        bmc.bind(("127.0.0.1", 0))
        bmc.setblocking(False)
        write_methods(two, methods, *bmc.getsockname())
        answer = two.by_hand("off", one.name)
        with pytest.raises(BlockingIOError):
            bmc.recv(1)
    assert (answer.status, answer.stdout) == (1, "")
    assert answer.stderr.count("the fence race is lost") == 1
    assert "no further fence method is tried" in answer.stderr


def test_a_race_that_cannot_be_decided_leads_to_the_next_method(
    target: Target, nodes: tuple[Node, Node], bmc: Bmc
) -> None:
    """This node is registered on the LUNs that it sees, and was so at the end."""
    bmc.power = "on"
    one, two = nodes
    two.urls = [*target.urls, target.url(9)]
    write_methods(two, ("disk", "bmc"), bmc.address, bmc.port)
    answer = two.by_hand("off", one.name)
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert "cannot be decided" in answer.stderr
    assert bmc.power == "off"


@pytest.mark.parametrize("fenced_before", [False, True])
def test_a_race_for_which_time_ran_out_leads_to_no_other_method(
    target: Target, nodes: tuple[Node, Node], fenced_before: bool
) -> None:
    """Whether this node is the one that was fenced cannot be told apart then."""
    one, two = nodes
    if fenced_before:
        assert one.call("off", two.name).status == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bmc:
        bmc.bind(("127.0.0.1", 0))
        bmc.setblocking(False)
        write_methods(two, ("disk", "bmc"), *bmc.getsockname(), disk_s=2)
        target.stop()
        try:
            answer = two.by_hand("off", one.name)
        finally:
            target.resume()
        with pytest.raises(BlockingIOError):
            bmc.recv(1)
    assert (answer.status, answer.stdout) == (1, "")
    assert "no further fence method is tried: nothing shows that this node" in answer.stderr


def test_a_node_that_sees_no_lun_goes_on_to_no_other_method(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    two.urls = ["/dev/fence-halvm-gone"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bmc:
        bmc.bind(("127.0.0.1", 0))
        bmc.setblocking(False)
        write_methods(two, ("disk", "bmc"), *bmc.getsockname())
        answer = two.by_hand("off", one.name)
        with pytest.raises(BlockingIOError):
            bmc.recv(1)
    assert answer.status == 1
    assert "does not exist on this node" in answer.stderr
    assert "no further fence method is tried: nothing shows that this node" in answer.stderr


def test_any_with_a_dead_bmc_is_proved_by_storage(target: Target, nodes: tuple[Node, Node]) -> None:
    answer = nodes[1].call("off", "serv-0001", proof="any", deadline=20, **dead_bmc())
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert "proved by storage" in answer.stderr
    assert "not powered off" in answer.stderr
    assert fenced(target, nodes[0])


def test_power_with_a_dead_bmc_fails_at_its_deadline(nodes: tuple[Node, Node]) -> None:
    began = time.monotonic()
    answer = nodes[1].call("off", "serv-0001", proof="power", deadline=3, **dead_bmc())
    assert answer.status == 1
    assert 2.5 < time.monotonic() - began < 3 + 10  # Python's start may take any time beside other tests


@pytest.mark.slow
def test_a_node_that_was_fenced_while_the_bmc_was_silent_shoots_no_node(
    target: Target, nodes: tuple[Node, Node], bmc: Bmc
) -> None:
    """It had won; the target reset itself, booted, and fenced it, before its BMC answered."""
    one, two = nodes
    bmc.power = "on"
    os.kill(bmc.pid, signal.SIGSTOP)  # killed, it would leave its port to another test's
    call = two.start("off", one.name, proof="all", verbose=1, **bmc_options(bmc))
    deadline = time.monotonic() + 20
    while not fenced(target, one):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    one.forget()
    assert one.unfence().status == 0
    assert one.call("off", two.name).status == 0
    os.kill(bmc.pid, signal.SIGCONT)
    answer = finish(call)
    assert (answer.status, answer.stdout) == (1, ""), answer.stderr
    assert "the fence race is lost" in answer.stderr
    assert bmc.power == "on"
