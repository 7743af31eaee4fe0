"""What a caller gets from the whole agent on shared LUNs, and what is on the LUNs afterwards."""

import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencer.cluster.keys import NodeIdentity, derive_key
from fencer.journal.event import EventKind, StepName
from fencer.journal.file import Journal
from fencer.model import KeyScheme, Proof, ReservationKey
from fencer.state.snapshot_file import write_snapshot
from fencer.storage.look import guard_key
from fencer.storage.transport import ScsiStatus
from tests import scenes
from tests.agent_storage.nodes import CLUSTER, NAMES, Answer, Node, Witness, finish
from tests.rig.bmc import Bmc
from tests.rig.target import Target

pytestmark = [pytest.mark.peer, pytest.mark.skipif(os.geteuid() != 0, reason="tgtd must run as root")]
KILLS = int(os.environ.get("KILLS", "5"))


@pytest.fixture(scope="module")
def bmc() -> Iterator[Bmc]:
    with Bmc() as bmc:
        yield bmc


@pytest.fixture
def target() -> Iterator[Target]:
    with Target(luns=2) as target:
        yield target


@pytest.fixture
def nodes(target: Target, tmp_path: Path) -> tuple[Node, Node]:
    """serv-0001 and serv-0002, unfenced."""
    both = Node(0, tmp_path, target.urls), Node(1, tmp_path, target.urls)
    for node in both:
        answer = node.unfence()
        assert (answer.status, answer.stdout) == (0, "Success: Powered ON\n"), answer.stderr
    return both


def bmc_options(bmc: Bmc, **more: object) -> dict[str, object]:
    return {"ip": bmc.address, "ipport": bmc.port, "username": "ADMIN", "password": "ADMIN", "cipher": 3} | more


def fenced(target: Target, victim: Node) -> bool:
    """By the LUNs alone: the key gone from all of them, a reservation held."""
    ok = True
    for url in target.urls:
        witness = Witness(url)
        keys = witness.keys().keys
        ok = ok and not {victim.key, guard_key(victim.key)} & set(keys) and witness.reservation().type is not None
        witness.close()
    return ok


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
    before = [_listing(url) for url in target.urls]
    lost = one.call("off", two.name)
    assert (lost.status, lost.stdout) == (1, "")
    assert "the fence race is lost, nothing was powered off" in lost.stderr
    for _ in range(2):  # marker rules over two runs
        refused = one.unfence()
        assert refused.status == 1
        assert "this node was fenced" in refused.stderr
    assert [_listing(url) for url in target.urls] == before, "the loser wrote something"
    one.forget()  # a reboot
    assert one.unfence().status == 0
    assert not fenced(target, one)


def _listing(url: str) -> object:
    """Generation and keys: any PERSISTENT RESERVE OUT but RESERVE and RELEASE moves them."""
    witness = Witness(url)
    try:
        return witness.keys()
    finally:
        witness.close()


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
    before = [_listing(url) for url in target.urls]
    answer = two.call("off", NAMES[0])
    assert (answer.status, answer.stdout) == (1, "")
    assert "never unfenced" in answer.stderr
    assert [_listing(url) for url in target.urls] == before


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
    answer = one.call("monitor", two.name, ip="127.0.0.1", ipport=9, proof=proof, deadline=2)
    assert answer.status == status
    assert ("WARNING: 127.0.0.1: " if status == 0 else "ERROR: 127.0.0.1: ") in answer.stderr


def test_a_lun_that_one_node_cannot_name_leaves_the_race_undecided(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    two.urls = [*target.urls, target.url(9)]
    answer = two.call("off", one.name, deadline=5)
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
    before = [_listing(url) for url in target.urls]
    answer = nodes[1].call("off", more.pop("plug", "serv-0001"), **more)
    assert (answer.status, answer.stdout) == (1, "")
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [_listing(url) for url in target.urls] == before


# --- with a BMC ------------------------------------------------------------------------------------------------------


def test_power_and_storage_both_prove(target: Target, nodes: tuple[Node, Node], bmc: Bmc) -> None:
    bmc.power = "on"
    answer = nodes[1].call("off", "serv-0001", proof="all", **bmc_options(bmc))
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert "proved by power" in answer.stderr
    assert "and storage" in answer.stderr
    assert bmc.power == "off"
    assert fenced(target, nodes[0])


def test_an_undecidable_race_touches_no_power(target: Target, nodes: tuple[Node, Node], bmc: Bmc) -> None:
    bmc.power = "on"
    before = bmc.commands()
    target.stop()
    began = time.monotonic()
    try:
        answer = nodes[1].call("reboot", "serv-0001", deadline=2, **bmc_options(bmc))
    finally:
        target.resume()
    assert time.monotonic() - began < 5
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


def dead_bmc() -> dict[str, object]:
    """A loopback address where nobody listens."""
    return {"ip": "127.0.0.99", "ipport": 9, "username": "ADMIN", "password": "ADMIN", "login_timeout": 1}


def test_any_with_a_dead_bmc_is_proved_by_storage(target: Target, nodes: tuple[Node, Node]) -> None:
    answer = nodes[1].call("off", "serv-0001", proof="any", deadline=8, **dead_bmc())
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert "proved by storage" in answer.stderr
    assert "not powered off" in answer.stderr
    assert fenced(target, nodes[0])


def test_power_with_a_dead_bmc_fails_at_its_deadline(nodes: tuple[Node, Node]) -> None:
    began = time.monotonic()
    answer = nodes[1].call("off", "serv-0001", proof="power", deadline=3, **dead_bmc())
    assert answer.status == 1
    assert 2.5 < time.monotonic() - began < 3 + 10  # Python's start may take any time beside other tests


# --- the victim's own sidecar ----------------------------------------------------------------------------------------


def sidecar_of(node: Node, bound_s: float) -> None:
    """What halvm-watchdogd would have published on this node a moment ago."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    now = {"boot_id": boot_id, "written_monotonic_s": time.monotonic(), "interval_s": 20.0}
    write_snapshot(str(node.state_dir), scenes.snapshot()._replace(**now, bound_s=bound_s))


def test_self_waits_for_the_victims_sidecar_and_says_so(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    sidecar_of(two, 3.0)
    began = time.monotonic()
    answer = two.call("off", one.name, proof="self", self_fence_bound=3, **dead_bmc())
    assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    assert time.monotonic() - began > 3.0
    assert "storage (key" in answer.stderr
    assert "self (the 3 s have passed in which its sidecar resets it)" in answer.stderr
    assert fenced(target, one)
    with Journal(str(two.conf.with_name("journal.db"))).read() as journal:
        fence = journal.page(limit=1, kinds=[EventKind.FENCE])[0][1]
        assert fence.proofs == (Proof.STORAGE, Proof.SELF)
        assert StepName.SELF_FENCE in [step.name for step in fence.steps]
        assert "storage+self" in {total.proof for total in journal.totals()}


def test_self_is_refused_before_anything_is_sent_where_no_sidecar_runs(
    target: Target, nodes: tuple[Node, Node]
) -> None:
    one, two = nodes
    before = [_listing(url) for url in target.urls]
    answer = two.call("off", one.name, proof="self", self_fence_bound=3)
    assert (answer.status, answer.stdout) == (1, "")
    assert "proof: halvm-watchdogd has not run in this boot" in answer.stderr
    sidecar_of(two, 24.0)
    answer = two.call("off", one.name, proof="self", self_fence_bound=3)
    assert (answer.status, answer.stdout) == (1, "")
    assert "self_fence_bound: 3 s is less than the 24 s" in answer.stderr
    assert [_listing(url) for url in target.urls] == before


def test_self_never_stands_without_storage(target: Target, nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    sidecar_of(two, 1.0)
    two.urls = [*target.urls, target.url(9)]
    answer = two.call("off", one.name, proof="self", self_fence_bound=1, deadline=11)
    assert (answer.status, answer.stdout) == (1, "")
    assert "cannot be told" in answer.stderr


@pytest.mark.slow
def test_who_was_fenced_while_the_bmc_was_silent_shoots_nobody(
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


# --- whose key is whose -----------------------------------------------------------------------------------------------


def write_conf(node: Node, *names_and_ids: tuple[str, int]) -> None:
    rows = "".join(f'<clusternode name="{name}" nodeid="{number}"/>' for name, number in names_and_ids)
    node.conf.write_text(f'<cluster name="{CLUSTER}" config_version="1"><clusternodes>{rows}</clusternodes></cluster>')


def three_nodes(node: Node) -> None:
    write_conf(node, *((name, number) for number, name in enumerate((*NAMES, "serv-0003"), 1)))


def test_a_node_registered_under_another_key_than_it_should_have_is_not_called_off(
    target: Target, nodes: tuple[Node, Node], bmc: Bmc
) -> None:
    """By another cluster file, say; of three nodes the key may be the third one's. Power proves what storage cannot."""
    one, two = nodes
    three_nodes(two)
    key = derive_key(KeyScheme.ID, CLUSTER, NodeIdentity(one.name, 1, 0))
    one.forget()
    assert two.call("off", one.name).status == 0
    assert one.call("on", one.name, key_value="id").status == 0
    writer = Witness(target.urls[0], "its-kernel", key)
    try:
        for proof in ("storage", "any"):
            answer = two.call("off", one.name, proof=proof)
            assert (answer.status, answer.stdout) == (1, "")
            assert "of no node that is known here" in answer.stderr
        assert writer.write() is ScsiStatus.GOOD
        assert two.call("status", one.name).status == 1
        for proof in ("storage", "power"):
            monitor = two.call("monitor", one.name, proof=proof, **bmc_options(bmc))
            assert monitor.status == 1
            assert "belongs to no known node" in monitor.stderr
        bmc.power = "on"
        answer = two.call("off", one.name, proof="power", **bmc_options(bmc))
        assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
    finally:
        writer.close()


def test_of_two_nodes_one_that_is_registered_under_another_key_is_fenced_by_it(
    target: Target, nodes: tuple[Node, Node]
) -> None:
    """There is nobody else whose key it could be."""
    one, two = nodes
    key = derive_key(KeyScheme.ID, CLUSTER, NodeIdentity(one.name, 1, 0))
    one.forget()
    assert two.call("off", one.name).status == 0
    assert one.call("on", one.name, key_value="id").status == 0
    writer = Witness(target.urls[0], "its-kernel", key)
    try:
        assert two.call("monitor", one.name).status == 1
        answer = two.call("off", one.name)
        assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
        assert writer.write() is ScsiStatus.RESERVATION_CONFLICT
        assert two.call("monitor", one.name).status == 0
    finally:
        writer.close()


def test_of_two_nodes_that_derive_different_keys_one_survives(
    target: Target, nodes: tuple[Node, Node], bmc: Bmc, tmp_path: Path
) -> None:
    """A cluster.conf of another name was left over on one of them. Both monitors say so, and one race decides."""
    one, two = nodes
    one.conf = tmp_path / "left-over.conf"
    one.conf.write_text(two.conf.read_text().replace(f'"{CLUSTER}"', '"old-cluster"'))
    assert two.call("off", one.name).status == 0
    one.forget()
    assert one.unfence().status == 0
    for node, other in ((one, two), (two, one)):
        monitor = node.call("monitor", other.name, **bmc_options(bmc))
        assert monitor.status == 1
        assert "belongs to no known node" in monitor.stderr
    bmc.power = "on"
    before = bmc.commands()
    calls = [node.start("off", other.name, **bmc_options(bmc)) for node, other in ((one, two), (two, one))]
    answers = [finish(call) for call in calls]
    assert sorted(answer.status for answer in answers) == [0, 1], answers
    loser = next(answer for answer in answers if answer.status)
    assert "the fence race is lost" in loser.stderr
    assert bmc.commands() == [*before, "power 0"]


def test_nobody_is_fenced_by_a_configuration_that_was_changed_since_this_node_registered(
    target: Target, nodes: tuple[Node, Node]
) -> None:
    """With key_value=id all keys shift when a node is taken out of the file: another node's would be taken."""
    one, two = nodes
    write_conf(two, ("serv-0000", 3), (one.name, 1), (two.name, 2))
    for node in nodes:
        node.forget()
        assert node.call("on", node.name, key_value="id").status == 0
    before = [_listing(url) for url in target.urls]
    write_conf(two, (one.name, 1), (two.name, 2))
    for caller, other in ((one, two), (two, one)):
        for action in ("off", "monitor"):
            answer = caller.call(action, other.name, key_value="id")
            assert (answer.status, answer.stdout) == (1, "")
            assert "whose key is whose cannot be told" in answer.stderr
    assert [_listing(url) for url in target.urls] == before


@pytest.mark.parametrize("nodes_known", [2, 3])
def test_a_key_that_is_left_on_the_luns_hinders_no_fence_of_a_registered_node(
    target: Target, nodes: tuple[Node, Node], nodes_known: int
) -> None:
    """Of a node that is no more. Of three nodes it stays, and whether one that was off already is, cannot be told
    beside it; of two nodes it is taken, too."""
    one, two = nodes
    if nodes_known == 3:
        three_nodes(two)
    left = [Witness(url, "long-gone", ReservationKey(0xDEAD)) for url in target.urls]
    try:
        answer = two.call("off", one.name)
        assert (answer.status, answer.stdout) == (0, "Success: Powered OFF\n"), answer.stderr
        again = two.call("off", one.name)
        if nodes_known == 2:
            assert (again.status, again.stdout) == (0, "Success: Already OFF\n"), again.stderr
        else:
            assert (again.status, again.stdout) == (1, "")
            assert "0xdead" in again.stderr
    finally:
        for witness in left:
            witness.close()


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
