# SPDX-License-Identifier: Apache-2.0
"""Which node this is, and what a configuration file that makes no sense stops."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fencer.agent.option_input import with_defaults
from fencer.agent.request import Caller
from fencer.agent.request_builder import build_request
from fencer.cluster import addresses, membership
from fencer.cluster.keys import NodeIdentity
from fencer.cluster.membership import Membership, read_membership
from fencer.errors import UsageError

PARIS, LYON = "db1.paris.example.com", "db1.lyon.example.com"
LUN = "iscsi://127.0.0.1/iqn.2026-11.test:disk/1"


def corosync(directory: Path, *nodes: str, name: str = "c") -> str:
    """A corosync.conf; each node is the lines of its section."""
    path = directory / "corosync.conf"
    sections = "".join(f"  node {{\n{lines}\n  }}\n" for lines in nodes)
    nodelist = f"nodelist {{\n{sections}}}\n" if nodes else ""
    path.write_text(f"totem {{\n  version: 2\n  cluster_name: {name}\n}}\n{nodelist}")
    return str(path)


def read(path: str, local: str | None = None) -> Membership:
    return read_membership(None, local, path)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """called(name, own addresses, /etc/hosts): what this host is, from now on."""

    def be(name: str, own: tuple[str, ...] = (), hosts: str = "") -> None:
        monkeypatch.setattr(membership, "_host_names", lambda: (name,))
        monkeypatch.setattr(membership, "CLUSTER_CONF", "/nonexistent/cluster.conf")
        numbers = {addresses.packed(each) for each in own}
        monkeypatch.setattr(addresses, "is_own", lambda number: number in numbers)
        path = Path(os.environ["PYTEST_TMP_HOSTS"])
        path.write_text(hosts)
        monkeypatch.setattr(addresses.read_hosts, "__defaults__", (str(path),))

    return be


@pytest.fixture(autouse=True)
def _hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP_HOSTS", str(tmp_path / "hosts"))


@pytest.mark.parametrize(
    ("host", "names", "name", "local"),
    [
        (PARIS, (PARIS, LYON), LYON, False),
        (PARIS, (PARIS, LYON), PARIS, True),
        (PARIS, (PARIS, LYON), "db1.paris.example.com".upper(), True),
        (PARIS, ("db1", "db2"), "db1", True),
        (PARIS, ("db1", "db2"), "db2", False),
        (PARIS, (), "db1", True),
        (PARIS, (), LYON, False),
        ("db1", (), PARIS, True),
        (PARIS, (LYON, "db2"), LYON, False),  # not in that file, and not its namesake either
    ],
)
def test_whether_a_name_means_this_node(
    called: Callable[..., None], tmp_path: Path, host: str, names: tuple[str, ...], name: str, local: bool
) -> None:
    called(host)
    found = read(corosync(tmp_path, *(f"name: {each}\nnodeid: {number}" for number, each in enumerate(names, 1))))
    assert found.is_local(name) is local


def test_a_short_host_name_given_beside_the_whole_one_is_not_the_other_domains_node() -> None:
    nodes = (NodeIdentity(PARIS, 1, 0), NodeIdentity(LYON, 2, 1))
    found = Membership("c", nodes, (PARIS, "db1"), "corosync.conf")
    assert (found.local, found.is_local(LYON)) == (nodes[0], False)


NAMED = ("name: one\nnodeid: 1\nring0_addr: 10.0.0.1\nring1_addr: 10.1.0.1", "name: two\nnodeid: 2\nring0_addr: san2")
BARE = ("nodeid: 1\nring0_addr: 10.0.0.1", "nodeid: 2\nring0_addr: 10.0.0.2")


@pytest.mark.parametrize(
    ("nodes", "own", "hosts", "local"),
    [
        (NAMED, ("10.0.0.1",), "", 1),
        (NAMED, ("10.1.0.1",), "", 1),  # any ring
        (NAMED, ("10.0.0.9",), "10.0.0.9 san2 san2.x.org", 2),  # a ring's host name, by /etc/hosts
        (NAMED, ("10.0.0.7",), "", None),
        (NAMED, ("10.0.0.1", "10.0.0.9"), "10.0.0.9 san2", None),  # both: no guess
        (BARE, ("10.0.0.2",), "", 2),
        (("ring0_addr: fd00::1\nnodeid: 1", "ring0_addr: fd00:0::2\nnodeid: 2"), ("fd00::2",), "", 2),
        (BARE, ("127.0.0.1",), "127.0.0.1 host", None),
    ],
)
def test_this_node_by_its_address_where_its_name_is_another(
    called: Callable[..., None], tmp_path: Path, nodes: tuple[str, ...], own: tuple[str, ...], hosts: str, local: int
) -> None:
    called("host", own, hosts)
    found = read(corosync(tmp_path, *nodes))
    assert (None if found.local is None else found.local.node_id) == local


def test_a_name_counts_before_an_address(called: Callable[..., None], tmp_path: Path) -> None:
    called("two", ("10.0.0.1",))
    found = read(corosync(tmp_path, *NAMED))
    assert found.local is not None
    assert found.local.name == "two"


def test_a_node_without_a_name_goes_by_what_etc_hosts_calls_its_address(
    called: Callable[..., None], tmp_path: Path
) -> None:
    called("vm1", ("10.0.0.1",), "10.0.0.1 vm1.x.org vm1\n10.0.0.2 vm2.x.org vm2 # a comment\n")
    found = read(corosync(tmp_path, *BARE))
    assert [node and node.node_id for node in (found.local, found.find("vm1"), found.find("vm2"))] == [1, 1, 2]
    assert (found.is_local("vm1"), found.is_local("vm2"), found.unnamed) == (True, False, ())


def test_own_addresses_are_those_of_this_host() -> None:
    """In a network of its own: with a secondary address, and where addresses may be bound that are not its own."""
    if os.geteuid() != 0:
        pytest.skip("run as root: only root makes networks")
    asked = ("10.9.0.1", "10.9.0.2", "fd09::1", "10.9.0.3", "0.0.0.0", "127.0.0.1")
    code = f"from fencer.cluster.addresses import is_own, packed\nprint([is_own(packed(each)) for each in {asked}])"
    script = (
        "ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && "
        "ip addr add 10.9.0.1/24 dev v0 && ip addr add 10.9.0.2/24 dev v0 && ip addr add fd09::1/64 dev v0 nodad && "
        f'{sys.executable} -c "{code}" && echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind && {sys.executable} -c "{code}"'
    )
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    own = [True, True, True, False, False, False]
    assert done.stdout.splitlines() == [str(own), str([True, False, *own[2:]])], done.stderr


def test_loopback_addresses_are_nobodys() -> None:
    number = addresses.packed("127.0.0.1")
    assert number is not None
    assert not addresses.is_own(number)


@pytest.mark.parametrize("address", ["host", "10.0.0", "10.0.0.0.1", "", "fe80::1%eth0", "\0"])
def test_what_is_no_address(address: str) -> None:
    assert addresses.packed(address) is None


# --- what monitor and validation say of it ---------------------------------------------------------------------------

FENCE = {"action": "off", "plug": "vm2", "nodename": "vm2"}
NO_NODES: tuple[str, ...] = ()
HOSTS = "10.0.0.1 vm1\n10.0.0.2 vm2\n"


@pytest.mark.parametrize(
    ("nodes", "own", "hosts", "given", "refused"),
    [
        (BARE, (), "", {}, True),
        (BARE, ("10.0.0.1",), "", {}, True),  # this node is known, but not which one vm2 is
        (BARE, ("10.0.0.1",), HOSTS, {}, False),
        (BARE, (), "", {"local_key": "1", "key": "2"}, False),
        (BARE, ("10.0.0.1",), "", {"key": "2"}, False),
        (NO_NODES, (), "", {}, True),
        (NO_NODES, (), "", {"local_key": "1"}, True),
        (NO_NODES, (), "", {"local_key": "1", "key": "2"}, False),
        (("name: vm1\nnodeid: 1", "name: vm2\nnodeid: 2"), (), "", {}, False),
        (("name: vm1\nring0_addr: 10.0.0.1", "name: vm2\nring0_addr: 10.0.0.2"), (), "", {}, True),  # no node ids
    ],
)
@pytest.mark.parametrize("action", ["monitor", "validate-all"])
def test_monitor_and_validation_refuse_exactly_what_a_fence_would_be_refused_for(
    called: Callable[..., None],
    tmp_path: Path,
    nodes: tuple[str, ...],
    own: tuple[str, ...],
    hosts: str,
    given: dict[str, str],
    refused: bool,
    action: str,
) -> None:
    called("vm1", own, hosts)
    found = read(corosync(tmp_path, *nodes))
    for asked in ({"action": action}, FENCE):
        values = {"devices": LUN, "state_dir": str(tmp_path / "run"), **asked, **given}
        with pytest.raises(UsageError, match=r"give ") if refused else contextlib.nullcontext():
            build_request(with_defaults(values, {}), values, Caller.CLUSTER, found)


# --- a file that makes no sense -------------------------------------------------------------------------------------


@pytest.fixture(params=["cluster.conf", "corosync.conf", "missing"])
def broken(request: pytest.FixtureRequest, tmp_path: Path, called: Callable[..., None]) -> Membership:
    """Of a file with a syntax error, or one that was asked for and is not there."""
    called("vm1")
    path = tmp_path / "file"
    match request.param:
        case "cluster.conf":
            path.write_text("<cluster><clusternodes></cluster>")
            return read_membership(str(path), None)
        case "corosync.conf":
            path.write_text("totem {\n**quorum {\n}**\n")
            return read(str(path))
    return read_membership(str(path), None)


BMC = {"ip": "192.0.2.1"}
KEYS = {"key": "2", "local_key": "1"}


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({**FENCE, **BMC}, False),
        ({"action": "reboot", **BMC}, False),
        ({"action": "monitor", **BMC}, False),
        ({"action": "on", "plug": "vm2", **BMC}, False),
        ({**FENCE, "devices": LUN, **KEYS}, False),
        ({**FENCE, **BMC, "devices": LUN, **KEYS}, False),
        ({"action": "monitor", "devices": LUN, **KEYS}, False),
        ({**FENCE, "devices": LUN}, True),
        ({**FENCE, "devices": LUN, "local_key": "1"}, True),
        ({"action": "monitor", "devices": LUN}, True),
        ({"action": "on", "plug": "vm1", "devices": LUN}, True),
        ({"action": "on", "plug": "vm2", "devices": LUN, **BMC, **KEYS}, True),  # is it this node by another name?
        ({"action": "off"}, True),
    ],
    ids=str,
)
def test_a_broken_file_refuses_only_what_needs_it(
    broken: Membership, tmp_path: Path, given: dict[str, str], needed: bool
) -> None:
    given = {"state_dir": str(tmp_path / "run"), **given}
    expected = pytest.raises(UsageError, match=f"{tmp_path}/file") if needed else contextlib.nullcontext()
    with expected:
        build_request(with_defaults(given, {}), given, Caller.CLUSTER, broken)


def test_own_addresses_need_no_name_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that does not answer would hold a fence for half a minute."""

    def asked(*_arguments: object, **_more: object) -> None:
        raise AssertionError("a name server was asked")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr("_socket.getaddrinfo", asked)
    monkeypatch.setattr(membership, "_host_names", lambda: ("elsewhere",))
    read(corosync(tmp_path, *NAMED))
