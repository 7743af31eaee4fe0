# SPDX-License-Identifier: Apache-2.0
"""What is asked becomes keys, policies and a target, or one sentence; and by hand, the right node or none."""

from pathlib import Path

import pytest

from fencer.agent import cluster_defaults
from fencer.agent.option_input import with_defaults
from fencer.agent.request import Caller, Request
from fencer.agent.request_builder import build_request
from fencer.cluster.keys import NodeIdentity, derive_key
from fencer.cluster.membership import Membership, read_membership
from fencer.errors import UsageError
from fencer.model import Action, KeyScheme, ProofPolicy, ReservationKey, ReservationType
from fencer.storage.arbitration import Contest
from fencer.storage.settings import OtherKeys

LUN = "iscsi://127.0.0.1/iqn.2026-11.test:disk/1"


def membership(
    directory: Path,
    nodes: int = 2,
    local: str | None = "serv-0002",
    *,
    agent: str = "fence_halvm",
    storage: str = 'vg="shared"',
) -> Membership:
    """agent: of the fence devices; "" leaves the devices out."""
    conf = directory / "cluster.conf"
    rows = "".join(
        f'<clusternode name="serv-000{n}" nodeid="{n}"><fence><method name="m"><device name="d{n}"/></method></fence>'
        "</clusternode>"
        for n in range(1, nodes + 1)
    )
    devices = "".join(
        f'<fencedevice name="d{n}" agent="{agent}" ipaddr="192.0.2.{n}" login="ADMIN" passwd="x" {storage}/>'
        for n in range(1, nodes + 1)
        if agent
    )
    conf.write_text(
        f'<cluster name="c" config_version="1"><clusternodes>{rows}</clusternodes>'
        f"<fencedevices>{devices}</fencedevices></cluster>"
    )
    return read_membership(str(conf), local)


def ask(directory: Path, **given: str) -> Request:
    given = {"state_dir": str(directory / "run"), "devices": LUN, "plug": "serv-0001"} | given
    given = {name: value for name, value in given.items() if value}
    return build_request(with_defaults(given, {}), given, Caller.CLUSTER, membership(directory))


def test_keys_are_derived_and_differ(tmp_path: Path) -> None:
    storage = ask(tmp_path, action="off").storage
    assert storage is not None
    assert storage.settings.own_key is not None
    assert storage.target_key is not None
    assert int(storage.settings.own_key) & 0xFFFFFFFF == 2
    assert int(storage.target_key) & 0xFFFFFFFF == 1


def test_on_of_nobody_knows_whom_is_refused(tmp_path: Path) -> None:
    given = {"state_dir": str(tmp_path / "run"), "devices": LUN, "nodename": "serv-0001", "action": "on", "ip": "b"}
    stranger = membership(tmp_path)._replace(host_names=("elsewhere",))
    with pytest.raises(UsageError, match=r"^local_node: .* has no node elsewhere.*: give local_node=NAME$"):
        build_request(with_defaults(given, {}), given, Caller.CLUSTER, stranger)


def test_on_of_another_node_needs_its_bmc(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^ip: serv-0001 is not this node"):
        ask(tmp_path, action="on")
    assert ask(tmp_path, action="on", ip="192.0.2.1").bmc is not None


def test_keys_that_are_given_win(tmp_path: Path) -> None:
    storage = ask(tmp_path, action="off", key="0xabc", local_key="0DEF").storage
    assert storage is not None
    assert (storage.target_key, storage.settings.own_key) == (ReservationKey(0xABC), ReservationKey(0xDEF))


@pytest.mark.parametrize("local_key", ["", "0DEF"])
def test_a_node_unfences_itself_under_its_own_key_where_a_device_also_names_its_fencers(
    tmp_path: Path, local_key: str
) -> None:
    """A CIB gives a device both keys, and they are the same on each node. Under its fencer's key the node would write
    on when it is fenced: the key that is looked for is not there, and the fencer's own never is taken."""
    storage = ask(tmp_path, action="on", plug="serv-0002", key="0xabc", local_key=local_key).storage
    assert storage is not None
    assert storage.settings.own_key == ReservationKey(0xABC)


@pytest.mark.parametrize("option", ["key", "local_key"])
def test_no_node_registers_under_the_key_of_another(tmp_path: Path, option: str) -> None:
    fenced = ask(tmp_path, action="off").storage
    assert fenced is not None and fenced.target_key is not None
    with pytest.raises(UsageError, match=r"is the key of serv-0001, and this node is serv-0002"):
        ask(tmp_path, action="on", plug="serv-0002", **{option: str(fenced.target_key)})


def test_nodename_is_fenced_where_plug_differs(tmp_path: Path) -> None:
    """As Pacemaker calls with pcmk_host_map=serv-0001:outlet-7: the key is the node's."""
    request = ask(tmp_path, action="off", nodename="serv-0001", plug="outlet-7")
    assert request.target == "serv-0001"
    assert request.storage is not None
    assert request.storage.target_key is not None
    assert int(request.storage.target_key) & 0xFFFFFFFF == 1


def test_pacemakers_made_up_target_is_no_reason_to_refuse_a_device(tmp_path: Path) -> None:
    """Pacemaker and pcs validate each device with the target node1."""
    given = {"action": "validate-all", "vg": "shared_vg", "ip": "192.0.2.1", "plug": "node1", "nodename": "node1"}
    assert ask(tmp_path, **given, devices="").target is None
    with pytest.raises(UsageError, match="no node serv-0009"):
        ask(tmp_path, **given | {"nodename": "serv-0009"}, devices="")
    with pytest.raises(UsageError, match="no node node1"):
        ask(tmp_path, **given | {"action": "off"}, devices="")
    with pytest.raises(UsageError, match="no node node1"):
        build_request(with_defaults(given, {}), given, Caller.PERSON, membership(tmp_path))
    with pytest.raises(UsageError, match="proof: storage needs the shared LUNs"):
        ask(tmp_path, **given | {"vg": "", "proof": "storage"}, devices="")


OTHER_LUN = "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"


@pytest.mark.parametrize("between", [",", " ", "  ", ", ", " , ", "\t", ",,", "\u00a0"], ids=ascii)
def test_luns_are_separated_by_commas_or_blanks(tmp_path: Path, between: str) -> None:
    storage = ask(tmp_path, action="off", devices=f"{LUN}{between}{OTHER_LUN}").storage
    assert storage is not None
    assert storage.settings.devices == (LUN, OTHER_LUN)


@pytest.mark.parametrize("action", ["off", "reboot"])
def test_a_cluster_manager_may_have_this_node_fence_itself_by_its_bmc_alone(tmp_path: Path, action: str) -> None:
    request = ask(tmp_path, action=action, plug="serv-0002", ip="192.0.2.2", devices="")
    assert (request.target_is_local, request.storage) == (True, None)
    assert request.bmc is not None


@pytest.mark.parametrize(
    ("given", "caller"),
    [
        ({"devices": LUN}, Caller.CLUSTER),
        ({"devices": LUN, "key": "5"}, Caller.CLUSTER),
        ({"vg": "shared_vg"}, Caller.CLUSTER),
        ({"action": "diag"}, Caller.CLUSTER),
        ({}, Caller.PERSON),
    ],
)
def test_else_no_node_fences_itself(tmp_path: Path, given: dict[str, str], caller: Caller) -> None:
    given = {"action": "reboot", "plug": "serv-0002", "ip": "192.0.2.2", "state_dir": str(tmp_path / "run")} | given
    with pytest.raises(UsageError, match="this node: a node cannot fence itself; run this on another node"):
        build_request(with_defaults(given, {}), given, caller, membership(tmp_path))


# --- dlm_controld: node=ID, no name -----------------------------------------------------------------------------------


def test_a_node_id_is_looked_up_and_its_key_derived(tmp_path: Path) -> None:
    request = ask(tmp_path, plug="", node="1", fail_time="1764272535")
    assert (request.action, request.target) == (Action.REBOOT, "serv-0001")
    assert request.storage is not None
    assert request.storage.target_key is not None
    assert int(request.storage.target_key) & 0xFFFFFFFF == 1


def test_a_node_id_is_looked_up_in_corosync_conf(tmp_path: Path) -> None:
    conf = tmp_path / "corosync.conf"
    nodes = "".join(f"node {{\n name: serv-000{n}\n nodeid: {n}\n ring0_addr: 192.0.2.{n}\n }}\n" for n in (1, 2))
    conf.write_text(f"totem {{\n cluster_name: c\n}}\nnodelist {{\n {nodes} }}\n")
    known = read_membership(None, "serv-0002", str(conf))
    given = {"state_dir": str(tmp_path / "run"), "devices": LUN, "node": "1", "fail_time": "1", "action": "off"}
    assert build_request(with_defaults(given, {}), given, Caller.CLUSTER, known).target == "serv-0001"


def test_unfencing_by_id_is_of_this_node_or_of_another(tmp_path: Path) -> None:
    own = ask(tmp_path, plug="", node="2", action="on", ip="192.0.2.2")
    assert (own.target_is_local, own.bmc) == (True, None)
    other = ask(tmp_path, plug="", node="1", action="on", ip="192.0.2.1")
    assert (other.target, other.target_is_local) == ("serv-0001", False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"node": "2"}, "serv-0002 is this node"),
        ({"node": "9"}, "has no one node with id 9: add it there, or give nodename=NAME"),
        ({"node": "0"}, "has no one node with id 0"),
        ({"node": "one"}, "node: 'one' is not a node id"),
        ({"node": "\u0661"}, "is not a node id"),
        ({"node": "1", "plug": "serv-0002"}, "node: 1 is serv-0001, but plug says serv-0002"),
        ({"action": "on"}, "nodename: on with LUNs .* no node is named: give nodename=NAME"),
        ({"action": "on", "ip": "192.0.2.1"}, "no node is named"),
        ({"action": "on", "ip": "192.0.2.1", "key": "1"}, "no node is named"),
        ({"action": "on", "ip": "192.0.2.1", "node": "9"}, "has no one node with id 9"),
    ],
)
def test_an_id_or_an_on_that_names_no_node_is_refused(tmp_path: Path, given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ask(tmp_path, **{"action": "off", "plug": ""} | given)


def test_a_person_who_names_no_node_unfences_this_node(tmp_path: Path) -> None:
    given = {"state_dir": str(tmp_path / "run"), "devices": LUN, "action": "on"}
    request = build_request(with_defaults(given, {}), given, Caller.PERSON, membership(tmp_path))
    assert (request.target, request.target_is_local) == ("serv-0002", True)
    with pytest.raises(UsageError, match="no node is named"):
        typed = given | {"ip": "192.0.2.1"}
        build_request(with_defaults(typed, {}), typed, Caller.PERSON, membership(tmp_path))


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, ProofPolicy.STORAGE),
        ({"ip": "192.0.2.1"}, ProofPolicy.POWER),
        ({"ip": "192.0.2.1", "proof": "any"}, ProofPolicy.ANY),
    ],
)
def test_policies(tmp_path: Path, given: dict[str, str], policy: ProofPolicy) -> None:
    assert ask(tmp_path, action="off", **given).policy is policy


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"plug": "serv-0002"}, "cannot fence itself"),
        ({"key": "5", "local_key": "05"}, "own key"),
        ({"key": "0"}, "key: 0 is no"),
        ({"key": "xyz"}, "key: not a"),
        ({"plug": ""}, "plug: "),
        ({"plug": "serv-0007"}, "no node serv-0007"),
        ({"proof": "power"}, "proof: power needs a BMC"),
        ({"devices": "", "ip": "192.0.2.1", "proof": "all"}, "proof: all needs the shared LUNs"),
        ({"deadline": "0"}, "deadline: 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path: Path, given: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ask(tmp_path, action="off", **given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"proof": "power"}, "proof: power needs a BMC"),
        ({"proof": "all"}, "proof: all needs a BMC"),
        ({"devices": "", "ip": "192.0.2.1", "proof": "storage"}, "proof: storage needs the shared LUNs"),
        ({"key": "zz"}, "key: not a"),
        ({"key": "0"}, "key: 0 is no"),
        ({"local_key": "zz"}, "local_key: not a"),
        ({"key": "5", "local_key": "05"}, "own key"),
        ({"plug": "serv-0007"}, "no node serv-0007"),
        (
            {"devices": f"{LUN}, /dev/sdb"},
            "devices: /dev/sdb may be another LUN on another node: give the LUN.s WWID",
        ),
    ],
)
@pytest.mark.parametrize("plug", ["", "serv-0001"])
def test_validation_refuses_what_every_fence_refuses(
    tmp_path: Path, given: dict[str, str], says: str, plug: str
) -> None:
    with pytest.raises(UsageError, match=says):
        ask(tmp_path, action="validate-all", **{"plug": plug} | given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"plug": "serv-0001"},
        {"plug": "serv-0002"},  # this node: what fences it runs elsewhere
        {"ip": "192.0.2.1", "proof": "all"},
        {"devices": "", "ip": "192.0.2.1", "proof": "any"},
        {"key": "5"},
        {"key": "5", "local_key": "6"},
    ],
    ids=str,
)
@pytest.mark.parametrize("known", [True, False])
def test_validation_asks_for_no_target(tmp_path: Path, given: dict[str, str], known: bool) -> None:
    """Pacemaker gives no plug, and a device may be validated where there is no cluster."""
    given = {"action": "validate-all", "state_dir": str(tmp_path / "run"), "devices": LUN, **given}
    here = membership(tmp_path) if known else Membership("", (), ("elsewhere",), "")
    assert build_request(with_defaults(given, {}), given, Caller.CLUSTER, here).action is Action.VALIDATE_ALL


def test_by_hand_the_other_node_of_two(tmp_path: Path) -> None:
    found = membership(tmp_path)
    assert found.cluster is not None
    resolved = cluster_defaults.resolve({"action": "reboot"}, found, found.cluster)
    assert resolved.introduction.startswith("about to reboot serv-0001")
    assert "it is the other node" in resolved.introduction
    assert resolved.methods[0][0]["ip"] == "192.0.2.1"


def test_by_hand_a_named_node(tmp_path: Path) -> None:
    found = membership(tmp_path, nodes=3)
    assert found.cluster is not None
    assert (
        cluster_defaults.resolve({"plug": "serv-0003"}, found, found.cluster).methods[0][0]["nodename"] == "serv-0003"
    )


def test_by_hand_nodename_is_fenced_where_plug_differs(tmp_path: Path) -> None:
    found = membership(tmp_path, nodes=3)
    assert found.cluster is not None
    resolved = cluster_defaults.resolve({"nodename": "serv-0001", "plug": "serv-0003"}, found, found.cluster)
    assert resolved.introduction.startswith("about to reboot serv-0001")
    assert resolved.methods[0][0]["ip"] == "192.0.2.1"


@pytest.mark.parametrize("typed", [{"vg": "mine"}, {"devices": LUN}], ids=str)
def test_by_hand_typed_luns_leave_the_bmc_of_cluster_conf(tmp_path: Path, typed: dict[str, str]) -> None:
    found = membership(tmp_path, storage='devices="/dev/theirs" vg="theirs"')
    assert found.cluster is not None
    given = {"plug": "serv-0001", **typed}
    assert cluster_defaults.applies(given)
    resolved = cluster_defaults.resolve(given, found, found.cluster)
    assert resolved.introduction.endswith(": it was named; this node is serv-0002")
    (((text),),) = resolved.methods
    assert {name: text[name] for name in ("nodename", "ip", "username", "password")} == {
        "nodename": "serv-0001", "ip": "192.0.2.1", "username": "ADMIN", "password": "x",
    }  # fmt: skip
    assert {name: text[name] for name in ("vg", "devices") if name in text} == typed


@pytest.mark.parametrize(
    ("given", "does"),
    [
        ({}, True),
        ({"plug": "serv-0001"}, True),
        ({"plug": "serv-0001", "vg": "mine"}, True),
        ({"vg": "mine", "key": "5"}, False),  # somebody's key on these LUNs: not a word of the other node
        ({"plug": "serv-0001", "ip": "192.0.2.9"}, False),
        ({"plug": "192.0.2.9", "port_as_ip": "1", "vg": "mine"}, False),
    ],
    ids=str,
)
def test_when_cluster_conf_is_asked(given: dict[str, str], does: bool) -> None:
    assert cluster_defaults.applies(given) is does


@pytest.mark.parametrize("agent", ["fence_ipmilan", ""])
@pytest.mark.parametrize("named", ["serv-0001", "serv-0009"])
def test_by_hand_typed_luns_suffice_where_cluster_conf_knows_no_device_of_ours(
    tmp_path: Path, agent: str, named: str
) -> None:
    found = membership(tmp_path, agent=agent)
    assert found.cluster is not None
    resolved = cluster_defaults.resolve({"nodename": named, "vg": "mine"}, found, found.cluster)
    assert resolved.introduction.endswith(" has no fence_halvm device for it")
    assert resolved.methods == (({"nodename": named, "vg": "mine"},),)
    with pytest.raises(UsageError):
        cluster_defaults.resolve({"nodename": named}, found, found.cluster)


@pytest.mark.parametrize(("nodes", "local"), [(3, "serv-0002"), (2, None)])
def test_by_hand_it_does_not_guess(tmp_path: Path, nodes: int, local: str | None) -> None:
    found = membership(tmp_path, nodes, local)
    assert found.cluster is not None
    with pytest.raises(UsageError):
        cluster_defaults.resolve({"action": "reboot"}, found, found.cluster)


# --- whose keys may be on the LUNs -----------------------------------------------------------------------------------

DERIVED = {n: derive_key(KeyScheme.NODEID, "c", NodeIdentity(f"serv-000{n}", n, 0)) for n in (1, 2, 3)}
TYPED, OWN = ReservationKey(0xB), ReservationKey(0xA)


@pytest.mark.parametrize(
    ("nodes", "given", "others"),
    [
        (2, {"action": "off"}, OtherKeys((DERIVED[1],))),
        (3, {"action": "off"}, OtherKeys((DERIVED[1], DERIVED[3]))),
        (2, {"action": "monitor"}, OtherKeys((DERIVED[1],))),
        (2, {"action": "off", "key": "0xb", "local_key": "0xa"}, OtherKeys((TYPED,))),
        (3, {"action": "off", "key": "0xb", "local_key": "0xa"}, OtherKeys((TYPED,), 1)),
        (2, {"action": "monitor", "key": "0xb", "local_key": "0xa"}, OtherKeys((TYPED,))),
        (2, {"action": "monitor", "key": "0xa", "local_key": "0xa"}, OtherKeys((), 1)),  # run by the node itself
        (3, {"action": "monitor", "local_key": "0xa"}, OtherKeys((), 2)),
        (2, {"action": "on", "plug": "serv-0002", "key": "0xa"}, OtherKeys((), 1)),
        (1, {"action": "monitor", "local_key": "0xa"}, OtherKeys(())),
    ],
)
def test_whose_keys_may_be_on_the_luns(
    tmp_path: Path, nodes: int, given: dict[str, str], others: OtherKeys | None
) -> None:
    given = {"state_dir": str(tmp_path / "run"), "devices": LUN, "plug": "serv-0001"} | given
    known = membership(tmp_path, nodes, "serv-0002" if nodes > 1 else "serv-0001")
    storage = build_request(with_defaults(given, {}), given, Caller.CLUSTER, known).storage
    assert storage is not None
    assert storage.settings.others == others


@pytest.mark.parametrize(
    ("others", "two"),
    [
        (OtherKeys((TYPED,)), True),
        (OtherKeys((OWN, TYPED)), True),
        (OtherKeys(()), True),
        (OtherKeys((TYPED,), 1), False),
        (OtherKeys((TYPED, ReservationKey(0xC))), False),
        (None, False),
    ],
)
def test_which_clusters_have_two_nodes(others: OtherKeys | None, two: bool) -> None:
    kind = ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
    assert Contest(OWN, TYPED, kind, True, 0.0, True, others).two_nodes is two
