# SPDX-License-Identifier: Apache-2.0
"""A person names a node, or none: the rest comes from cluster.conf. Callers on stdin never get this."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.halvm import Call, Outcome, halvm, in_time
from tests.rig.bmc import Bmc
from tests.rig.udp_proxy import UdpProxy

HEAD = '<?xml version="1.0"?>\n<cluster name="lvm-cluster" config_version="2">'


@pytest.fixture(scope="module")
def second() -> Iterator[Bmc]:
    with Bmc("127.0.7.220") as started:
        yield started


def device(name: str, bmc: Bmc, more: str = "", agent: str = "fence_halvm") -> str:
    return (
        f'<fencedevice name="{name}" agent="{agent}" ipaddr="{bmc.address}" ipport="{bmc.port}" login="ADMIN" '
        f'passwd="ADMIN" lanplus="1" {more}/>'
    )


def node(name: str, number: int, *methods: str) -> str:
    inside = "".join(
        f'<method name="{index}">' + "".join(f'<device name="{each}"/>' for each in method.split()) + "</method>"
        for index, method in enumerate(methods)
    )
    return f'<clusternode name="{name}" nodeid="{number}"><fence>{inside}</fence></clusternode>'


def write(path: Path, nodes: list[str], devices: list[str]) -> str:
    body = f"<clusternodes>{''.join(nodes)}</clusternodes><fencedevices>{''.join(devices)}</fencedevices>"
    path.write_text(f"{HEAD}{body}</cluster>\n")
    return f"--cluster-conf={path}"


@pytest.fixture
def two_nodes(bmc: Bmc, second: Bmc, cluster_conf: Path) -> str:
    second.power = "on"
    nodes = [node("serv-0001", 1, "halvm1"), node("serv-0002", 2, "halvm2")]
    return write(cluster_conf, nodes, [device("halvm1", bmc), device("halvm2", second)])


def changed(bmc: Bmc) -> list[str]:
    return [event.words[1] for event in bmc.log() if event.words[0] == "now"]


def test_a_named_node_is_fenced(bmc: Bmc, second: Bmc, two_nodes: str) -> None:
    outcome = halvm("-o", "reboot", "-n", "serv-0001", two_nodes, "--local-node=serv-0002")
    assert (outcome.status, outcome.stdout) == (0, "Success: Rebooted\n")
    first = outcome.lines[0]
    assert first.startswith("about to reboot serv-0001 (node 1 of lvm-cluster, ")
    assert first.endswith(": it was named; this node is serv-0002")
    assert changed(bmc) == ["off", "on"]
    assert changed(second) == []


def test_in_two_nodes_the_other_one_is_meant(bmc: Bmc, second: Bmc, two_nodes: str) -> None:
    outcome = halvm("-o", "reboot", two_nodes, "--local-node=serv-0002")
    assert (outcome.status, outcome.stdout) == (0, "Success: Rebooted\n")
    assert outcome.lines[0].startswith("about to reboot serv-0001 ")
    assert outcome.lines[0].endswith(": it is the other node; this node is serv-0002")
    assert changed(bmc) == ["off", "on"]
    assert changed(second) == []


def test_this_node_is_known_by_its_host_name(bmc: Bmc, cluster_conf: Path) -> None:
    here = socket.gethostname().partition(".")[0]
    conf = write(cluster_conf, [node("serv-0001", 1, "halvm1"), node(here, 2)], [device("halvm1", bmc)])
    outcome = halvm("-o", "off", conf)
    assert outcome.stdout == "Success: Powered OFF\n"
    assert outcome.lines[0].endswith(f"this node is {here}")


def test_who_is_fenced_is_said_before_every_warning(two_nodes: str) -> None:
    outcome = halvm("-o", "off", "-n", "serv-0001", "-P", "-v", "stray", two_nodes, "--local-node=serv-0002")
    assert outcome.lines[0].startswith("about to switch off serv-0001 ")
    assert any("1 argument(s) belong to no option and are ignored" in line for line in outcome.lines[1:])
    assert outcome.status == 0


def test_what_is_typed_wins_over_cluster_conf(two_nodes: str) -> None:
    outcome = halvm("-o", "off", "-n", "serv-0001", "-p", "wrong", two_nodes, "--local-node=serv-0002")
    assert outcome.status == 1
    assert "wrong password" in outcome.stderr


def test_other_actions_work_by_name(bmc: Bmc, two_nodes: str) -> None:
    here = (two_nodes, "--local-node=serv-0002")
    assert halvm("-o", "status", "-n", "serv-0001", *here).stdout == "Status: ON\n"
    assert halvm("-o", "off", "-n", "serv-0001", *here).stdout == "Success: Powered OFF\n"
    assert halvm("-o", "status", "-n", "serv-0001", *here).status == 2
    assert halvm("-o", "on", "-n", "serv-0001", *here).stdout == "Success: Powered ON\n"
    assert halvm("-o", "monitor", "-n", "serv-0001", *here).status == 0
    assert halvm("-o", "list", *here).stdout == "serv-0001\nserv-0002\n"
    assert halvm("-o", "list-status", *here).stdout == "serv-0001,,ON\nserv-0002,,ON\n"


@pytest.mark.slow
@pytest.mark.parametrize(("silent", "state"), [(1, "ON"), (2, "UNKNOWN")])
def test_list_status_of_silent_bmcs_ends_at_one_deadline(
    bmc: Bmc, proxy: UdpProxy, cluster_conf: Path, silent: int, state: str
) -> None:
    """Asked one after the other, each with a deadline of its own, two took 60 s. The second has its share at least."""
    proxy.blackhole = True
    behind = device("proxy", bmc).replace(f'ipport="{bmc.port}"', f'ipport="{proxy.port}"')
    nodes = [node("serv-0001", 1, "proxy"), node("serv-0002", 2, "proxy" if silent == 2 else "bmc")]
    conf = write(cluster_conf, nodes, [behind, device("bmc", bmc)])
    expected = f"serv-0001,,UNKNOWN\nserv-0002,,{state}\n"

    def one(deadline_s: float) -> Outcome:
        outcome = halvm("-o", "list-status", conf, f"--deadline={deadline_s:g}")
        assert deadline_s / 2 - 0.5 < outcome.took_s < deadline_s + 20  # Python starts on a busy machine
        return outcome

    outcome = in_time(one, lambda outcome: outcome.stdout == expected, 14)
    assert (outcome.status, outcome.stdout) == (0, expected)


def test_list_status_has_a_line_for_a_node_that_cannot_be_asked(bmc: Bmc, cluster_conf: Path) -> None:
    nodes = [node("serv-0001", 1), node("serv-0002", 2, "halvm2")]
    conf = write(cluster_conf, nodes, [device("halvm2", bmc)])
    outcome = halvm("-o", "list-status", conf)
    assert (outcome.status, outcome.stdout) == (0, "serv-0001,,UNKNOWN\nserv-0002,,ON\n")
    assert [line[:20] for line in outcome.lines] == ["WARNING: serv-0001: "]
    refused("no fence method", "-o", "list-status", "-n", "serv-0001", conf)


def test_list_status_on_stdin_has_a_line_for_each_node(bmc: Bmc, two_nodes: str) -> None:
    """As list has; stdin takes nothing else from cluster.conf, so without ip nobody can be asked."""
    outcome = halvm(stdin=f"action=list-status\ncluster_conf={two_nodes.partition('=')[2]}\n")
    assert (outcome.status, outcome.stdout) == (0, "serv-0001,,UNKNOWN\nserv-0002,,UNKNOWN\n")
    assert [line[:24] for line in outcome.lines] == ["WARNING: serv-0001: ip: ", "WARNING: serv-0002: ip: "]
    assert bmc.log() == []


def test_a_dry_run_by_hand_sends_nothing(bmc: Bmc, two_nodes: str) -> None:
    outcome = halvm("-o", "reboot", two_nodes, "--local-node=serv-0002", "--dry-run")
    assert outcome.stdout.startswith("Plan to reboot serv-0001 (nothing is sent)")
    assert bmc.log() == []


def test_luns_that_are_typed_leave_the_bmc_of_cluster_conf(bmc: Bmc, two_nodes: str, tmp_path: Path) -> None:
    here = (two_nodes, "--local-node=serv-0002", f"--state-dir={tmp_path}")
    outcome = halvm("-o", "reboot", "-n", "serv-0001", "--vg=shared_vg", *here, "--dry-run")
    assert outcome.status == 0
    assert outcome.lines[0].endswith(": it was named; this node is serv-0002")
    for step in (f"log in to the BMC {bmc.address}", "from every LUN of volume group shared_vg", "chassis power off"):
        assert step in outcome.stdout
    assert bmc.log() == []


def test_luns_that_are_typed_without_a_node_make_nobody_guess(bmc: Bmc, two_nodes: str, tmp_path: Path) -> None:
    here = (two_nodes, "--local-node=serv-0002", f"--state-dir={tmp_path}")
    refused("plug: which node's key is meant is not known", "-o", "reboot", "--vg=shared_vg", *here)
    outcome = halvm("-o", "off", "--vg=shared_vg", "--key=dead", *here, "--dry-run")
    assert "BMC" not in outcome.stdout
    assert "PREEMPT AND ABORT key 0xdead" in outcome.stdout
    assert bmc.log() == []


# --- refusals -------------------------------------------------------------------------------------------------------


def refused(word: str, *argv: str) -> None:
    outcome = halvm(*argv)
    assert (outcome.status, outcome.stdout, len(outcome.lines)) == (1, "", 1), outcome
    assert word in outcome.stderr


def test_three_nodes_are_not_guessed_among(bmc: Bmc, cluster_conf: Path) -> None:
    nodes = [node(f"serv-000{number}", number, "halvm1") for number in (1, 2, 3)]
    conf = write(cluster_conf, nodes, [device("halvm1", bmc)])
    refused("3", "-o", "reboot", conf, "--local-node=serv-0001")
    assert bmc.log() == []


@pytest.mark.parametrize("action", ["reboot", "off", "on", "diag", "status", "monitor", "validate-all"])
def test_a_forgotten_n_does_not_hit_the_other_node(bmc: Bmc, two_nodes: str, action: str) -> None:
    """Whoever types a name means it: here it is this node's own, and the other one would have been guessed."""
    refused("give -n NODE", "-o", action, "serv-0002", two_nodes, "--local-node=serv-0002")
    assert bmc.log() == []


@pytest.mark.parametrize("empty", [("-n", ""), ("--nodename=",)], ids=str)
def test_an_empty_name_is_no_missing_one(bmc: Bmc, two_nodes: str, empty: tuple[str, ...]) -> None:
    """The variable was not set: the other node would have been guessed."""
    refused("the name given is empty", "-o", "off", *empty, two_nodes, "--local-node=serv-0002")
    assert bmc.log() == []


def test_what_is_wrong_with_the_cluster_is_told_by_validate_all(bmc: Bmc, cluster_conf: Path) -> None:
    conf = write(cluster_conf, [node("serv-0001", 1, "halvm1"), node("serv-0002", 2)], [device("halvm1", bmc)])
    outcome = halvm("-o", "validate-all", "-n", "serv-0001", conf, "--local-node=serv-0002")
    assert outcome.status == 0
    assert "clusternode serv-0002 has no fence method: it can never be fenced" in outcome.stderr


def test_an_unknown_local_node_is_not_guessed_from(bmc: Bmc, two_nodes: str) -> None:
    refused("--local-node=NAME", "-o", "reboot", two_nodes)
    refused("local_node", "-o", "reboot", two_nodes, "--local-node=stranger")
    assert bmc.log() == []


def test_an_unknown_node_is_refused(bmc: Bmc, two_nodes: str) -> None:
    refused("has no node serv-0009: give one of serv-0001", "-o", "off", "-n", "serv-0009", two_nodes)
    assert bmc.log() == []


def test_this_node_is_refused(second: Bmc, two_nodes: str) -> None:
    outcome = halvm("-o", "off", "-n", "serv-0002", two_nodes, "--local-node=serv-0002")
    assert outcome.status == 1
    assert "a node cannot fence itself" in outcome.stderr
    assert second.power == "on"


def test_another_agents_device_is_refused(bmc: Bmc, cluster_conf: Path) -> None:
    nodes = [node("serv-0001", 1, "other"), node("serv-0002", 2)]
    conf = write(cluster_conf, nodes, [device("other", bmc, agent="fence_ipmilan")])
    refused("fenced by fence_ipmilan", "-o", "off", conf, "--local-node=serv-0002")
    assert bmc.log() == []


def test_a_node_without_a_method_is_refused(cluster_conf: Path) -> None:
    conf = write(cluster_conf, [node("serv-0001", 1), node("serv-0002", 2)], [])
    refused("no fence method", "-o", "off", conf, "--local-node=serv-0002")


@pytest.mark.parametrize("lines", ["nodename=serv-0001\n", "port=serv-0001\naction=off\n", "action=reboot\n"])
def test_stdin_never_guesses(bmc: Bmc, two_nodes: str, lines: str) -> None:
    conf = two_nodes.removeprefix("--").replace("cluster-conf", "cluster_conf")
    outcome = halvm(stdin=f"{lines}{conf}\nlocal_node=serv-0002\n")
    assert (outcome.status, len(outcome.lines)) == (1, 1)
    assert outcome.lines[0].startswith("ERROR: ip: ")
    assert bmc.log() == []


# --- methods --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken", ['passwd="wrong"', 'cipher="zz"', 'power_timeout="x"', 'hexadecimal_kg="zz"'], ids=str
)
def test_methods_are_tried_in_order(bmc: Bmc, second: Bmc, cluster_conf: Path, broken: str) -> None:
    """Also after one that makes no sense: fenced, too, would go on."""
    second.power = "on"
    nodes = [node("serv-0001", 1, "first", "backup"), node("serv-0002", 2)]
    first = device("first", bmc).replace('passwd="ADMIN" ', "" if "passwd" in broken else 'passwd="ADMIN" ')
    conf = write(cluster_conf, nodes, [first.replace("/>", f"{broken}/>"), device("backup", second)])
    outcome = halvm("-o", "off", conf, "--local-node=serv-0002")
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered OFF\n")
    assert (bmc.power, second.power) == ("on", "off")
    assert any(line.startswith("ERROR: ") for line in outcome.lines)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Where a BMC would be: whatever is sent there can be read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield listening


def backed_up(cluster_conf: Path, first: str, silent: socket.socket, more: str = "") -> str:
    address, port = silent.getsockname()
    backup = (
        f'<fencedevice name="backup" agent="fence_halvm" ipaddr="{address}" ipport="{port}" login="A" deadline="4" '
        f"{more}/>"
    )
    nodes = [node("serv-0001", 1, "first", "backup"), node("serv-0002", 2)]
    return write(cluster_conf, nodes, [first, backup])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_no_other_method_is_tried(
    bmc: Bmc, silent: socket.socket, cluster_conf: Path, number: signal.Signals
) -> None:
    bmc.ignore(off=True)
    call = Call("-o", "off", backed_up(cluster_conf, device("first", bmc), silent), "--local-node=serv-0002")
    while "power 0" not in bmc.commands():
        time.sleep(0.01)
    call.kill(number)
    outcome = call.end()
    call.assert_all_gone()
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.count("interrupted by") == 1
    assert outcome.lines[-1] == "no further fence method is tried"
    with pytest.raises(BlockingIOError):
        silent.recv(1)


@pytest.mark.parametrize("status", [0, 1])
def test_told_to_stop_between_two_methods_the_second_is_not_tried(
    bmc: Bmc, silent: socket.socket, cluster_conf: Path, tmp_path: Path, status: int
) -> None:
    """While it waits for the second one's password, which comes or does not come."""
    asked, script = tmp_path / "asked", tmp_path / "password"
    script.write_text(f"#!/bin/sh\ntouch {asked}\nsleep 0.5\necho secret\nexit {status}\n")
    script.chmod(0o700)
    first = device("first", bmc).replace('passwd="ADMIN"', 'passwd="wrong"')
    conf = backed_up(cluster_conf, first, silent, f'passwd_script="{script}"')
    call = Call("-o", "off", conf, "--local-node=serv-0002")
    while not asked.exists():
        time.sleep(0.01)
    call.kill(signal.SIGINT)
    outcome = call.end()
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.lines[-1].startswith("ERROR: ")
    with pytest.raises(BlockingIOError):
        silent.recv(1)


DUAL = '<device name="p1" action="off"/><device name="p2" action="off"/><device name="p1" action="on"/>' + (
    '<device name="p2" action="on"/>'
)


@pytest.mark.parametrize(
    ("action", "commands", "says"),
    [
        ("reboot", ["power 0", "power 1"], ["Powered OFF", "Powered OFF", "Powered ON", "Powered ON"]),
        ("off", ["power 0"], ["Powered OFF", "Powered OFF"]),
        ("on", [], ["Already ON", "Already ON"]),
    ],
)
def test_a_node_with_two_power_supplies_has_both_off_before_either_is_on(
    bmc: Bmc, second: Bmc, cluster_conf: Path, action: str, commands: list[str], says: list[str]
) -> None:
    """A method of off, off, on, on, as Red Hat's manual has it: not four reboots, and not two for off."""
    second.power = "on"
    before = len(second.commands())
    victim = f'<clusternode name="serv-0001" nodeid="1"><fence><method name="m">{DUAL}</method></fence></clusternode>'
    conf = write(cluster_conf, [victim, node("serv-0002", 2)], [device("p1", bmc), device("p2", second)])
    outcome = halvm("-o", action, "-n", "serv-0001", conf, "--local-node=serv-0002")
    assert outcome.status == 0
    assert outcome.stdout.splitlines() == [f"Success: {said}" for said in says]
    assert bmc.commands() == second.commands()[before:] == commands


def test_a_node_with_two_power_supplies_is_off_when_both_are(bmc: Bmc, second: Bmc, cluster_conf: Path) -> None:
    """An operator confirms by hand a node that status shows off."""
    conf = write(
        cluster_conf,
        [node("serv-0001", 1, "p1 p2"), node("serv-0002", 2)],
        [device("p1", bmc), device("p2", second)],
    )
    here = ("-n", "serv-0001", conf, "--local-node=serv-0002")
    for first_power, second_power, status, state in (
        ("on", "off", 0, "ON"),
        ("off", "on", 0, "ON"),
        ("off", "off", 2, "OFF"),
    ):
        bmc.power, second.power = first_power, second_power
        assert halvm("-o", "status", *here).status == status
        assert halvm("-o", "list-status", *here).stdout == f"serv-0001,,{state}\n"


def test_an_action_in_cluster_conf_that_spells_no_reboot_gives_way_to_what_is_typed(
    bmc: Bmc, cluster_conf: Path
) -> None:
    method = '<method name="m"><device name="p1" action="off"/></method>'
    victim = f'<clusternode name="serv-0001" nodeid="1"><fence>{method}</fence></clusternode>'
    conf = write(cluster_conf, [victim, node("serv-0002", 2)], [device("p1", bmc)])
    outcome = halvm("-o", "reboot", "-n", "serv-0001", conf, "--local-node=serv-0002")
    assert (outcome.status, outcome.stdout) == (0, "Success: Rebooted\n")


@pytest.mark.parametrize("attribute", ["dry_run", "re_register", "help"])
def test_cluster_conf_says_nothing_that_only_a_person_may(bmc: Bmc, cluster_conf: Path, attribute: str) -> None:
    nodes = [node("serv-0001", 1, "halvm1"), node("serv-0002", 2)]
    conf = write(cluster_conf, nodes, [device("halvm1", bmc, f'{attribute}="1"')])
    refused(f"{attribute}: only for a person", "-o", "off", "-n", "serv-0001", conf, "--local-node=serv-0002")
    assert bmc.log() == []


def test_on_without_a_node_is_for_this_one(bmc: Bmc, second: Bmc, two_nodes: str) -> None:
    second.power = "off"
    outcome = halvm("-o", "on", two_nodes, "--local-node=serv-0002")
    assert (outcome.status, outcome.stdout) == (0, "Success: Powered ON\n")
    assert outcome.lines[0].startswith("about to unfence serv-0002 (node 2 of lvm-cluster, ")
    assert outcome.lines[0].endswith(": on without -n is for this node; this node is serv-0002")
    assert bmc.log() == []


def test_a_node_may_be_named_by_its_id(bmc: Bmc, two_nodes: str) -> None:
    outcome = halvm("-o", "off", "--node=1", two_nodes, "--local-node=serv-0002")
    assert outcome.stdout == "Success: Powered OFF\n"
    refused("has no one node with id 9: give -n NODE", "-o", "off", "--node=9", two_nodes, "--local-node=serv-0002")


def test_all_devices_of_a_method_have_to_succeed(bmc: Bmc, second: Bmc, cluster_conf: Path) -> None:
    second.power = "on"
    nodes = [node("serv-0001", 1, "one two"), node("serv-0002", 2)]
    devices = [device("one", bmc), device("two", second)]
    conf = write(cluster_conf, nodes, devices)
    assert halvm("-o", "off", conf, "--local-node=serv-0002").status == 0
    assert (bmc.power, second.power) == ("off", "off")
    wrong = device("two", second).replace('passwd="ADMIN"', 'passwd="wrong"')
    conf = write(cluster_conf, nodes, [device("one", bmc), wrong])
    assert halvm("-o", "off", conf, "--local-node=serv-0002").status == 1
