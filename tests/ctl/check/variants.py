# SPDX-License-Identifier: Apache-2.0
"""Good files, each with one thing broken: what check has to say of it."""

from tests.ctl.check.cib_variants import CIB
from tests.ctl.check.variant import FAULT, WARNING, Variant


def _corosync(
    old: str, new: str, at: str, text: str, remedy: str, status: str = FAULT, beside: tuple[str, ...] = ()
) -> Variant:
    return Variant("corosync.conf", old, new, at, text, remedy, status, beside, alone=True)


def _cluster(old: str, new: str, at: str, text: str, remedy: str, beside: tuple[str, ...] = ()) -> Variant:
    return Variant("cluster.conf", old, new, at, text, remedy, FAULT, beside)


def _lvm(old: str, new: str, at: str, text: str, remedy: str) -> Variant:
    return Variant("lvm.conf", old, new, at, text, remedy)


def _dlm(old: str, new: str, at: str, text: str, remedy: str, beside: tuple[str, ...] = ()) -> Variant:
    return Variant("dlm.conf", old, new, at, text, remedy, FAULT, beside)


COROSYNC = (
    _corosync(
        "  two_node: 1\n", "  two_node: 1\n  wait_for_all: 0\n", "wait_for_all", "shoots the healthy node", "remove"
    ),
    _corosync("  two_node: 1\n", "", "quorum {", "two nodes without two_node", "add two_node: 1"),
    _corosync(
        "    name: serv-0002\n    nodeid: 2\n    ring0_addr: 10.9.0.2\n  }\n",
        "    name: serv-0002\n    nodeid: 2\n    ring0_addr: 10.9.0.2\n  }\n"
        "  node {\n    name: c\n    nodeid: 3\n    ring0_addr: 10.9.0.3\n  }\n",
        "two_node: 1",
        "two_node is set in a cluster of 3",
        "remove two_node",
    ),
    _corosync(
        "nodeid: 2", "nodeid: 1", "nodeid: 1\n    ring0_addr: 10.9.0.2", "the same nodeid 1", "give each its own"
    ),
    _corosync("    nodeid: 2\n", "", "node {\n    name: serv-0002", "serv-0002 has no nodeid", "add nodeid"),
    _corosync("    name: serv-0002\n", "", "node {\n    nodeid: 2", "node 10.9.0.2 has no name", "add name"),
    _corosync(
        "name: serv-0002",
        "name: serv-0001",
        "name: serv-0001\n    nodeid: 2",
        "more than one node serv-0001",
        "name each",
        FAULT,
        ("no node is named serv-0001, as this host is",),
    ),
    _corosync(
        "10.9.0.2", "10.9.0.1", "ring0_addr: 10.9.0.1\n  }\n}", "have the same address 10.9.0.1", "give each its own"
    ),
    _corosync("10.9.0.2", "10.9.2", "ring0_addr: 10.9.2", "10.9.2 is no whole IPv4 address", "all four numbers"),
    _corosync("  cluster_name: lvm-cluster\n", "", "totem {", "totem has no cluster_name", "add cluster_name"),
    _corosync("  provider: corosync_votequorum\n", "", "quorum {", "no provider", "set provider"),
    _corosync("token: 3000", "token: 30000", "token: 30000", "token is 30000 ms", "set token to 3000", WARNING),
    _corosync(
        "  two_node: 1\n",
        "  two_node: 1\n  expected_votes: 1\n",
        "expected_votes",
        "each half",
        "remove expected_votes",
    ),
)

CLUSTER = (
    _cluster(
        'ipaddr="192.168.1.51"', 'ipaddr="192.168.10"', 'name="halvm2" agent', "no whole IPv4", "all four numbers"
    ),
    _cluster(
        'ipaddr="192.168.1.51"', 'ipaddr="192.168.1.50"', '<device name="halvm2"/>', "same BMC address", "its own BMC"
    ),
    _cluster(
        "/dev/shared_vg/ha_lv", "/dev/shared_vg/ha-lv", "<fs name", "but lvm lvm activates ha_lv", "that lvs shows"
    ),
    _cluster('lv_name="ha_lv"', 'lv_name="ha-lv"', "<fs name", "but lvm lvm activates ha-lv", "that lvs shows"),
    _cluster(
        '<fence><method name="bmc-and-disk"><device name="halvm2"/></method></fence>',
        "<fence/>",
        '<clusternode name="serv-0002"',
        "serv-0002 has no fence method",
        "add <method",
    ),
    _cluster(
        '<unfence><device name="halvm2" action="on"/></unfence>',
        "",
        '<clusternode name="serv-0002"',
        "never registers",
        "add <unfence>",
    ),
    _cluster(
        'name="halvm2" action="on"',
        'name="halvm2"',
        '<unfence><device name="halvm2"',
        "would reboot the node",
        'action="on"',
    ),
    _cluster(
        'node name="serv-0002" priority', 'node name="serv-2" priority', "serv-2", "no clusternode serv-2", "correct"
    ),
    _cluster(
        'nodeid="2"',
        'nodeid="1"',
        'name="serv-0002" nodeid',
        "have the same nodeid 1",
        "its own",
        ("has nodeid 1, in",),
    ),
    _cluster(
        'clusternode name="serv-0002"',
        'clusternode name="serv-0003"',
        'name="serv-0003"',
        "is no node of",
        "correct it",
        ("no clusternode serv-0002",),
    ),
    _cluster('<cluster name="lvm-cluster"', '<cluster name="old"', "", "is of old, ", "remove cluster.conf"),
    _cluster(
        '<device name="halvm2"/></method>',
        '<device name="halvm3"/></method>',
        '"halvm3"',
        "does not exist",
        "add it",
        (),
    ),
)

LVM = (
    _lvm(
        '    system_id_source = "uname"\n',
        "",
        "",
        "system_id_source is none, but shared_vg",
        'system_id_source = "uname"',
    ),
    _lvm('"uname"', '"lvmlocal"', "system_id_source", "this host has no system ID", "lvmlocal.conf"),
    _lvm(
        "    use_lvmlockd = 0\n",
        "    use_lvmlockd = 0\n    locking_type = 3\n",
        "locking_type",
        "clvmd's",
        "system IDs or lvmlockd",
    ),
    _lvm('[ "rootvg" ]', '[ "rootvg", "shared_vg" ]', "auto_activation", "names shared_vg", "take it out"),
    _lvm(
        "activation {\n",
        'activation {\n    volume_list = [ "rootvg", "@serv-0001" ]\n',
        'volume_list = [ "rootvg", "@',
        "does not name shared_vg",
        'add "shared_vg"',
    ),
)

DLM = (
    _dlm("log_debug=1", "enable_fencing=0", "enable_fencing", "may still write", "remove it"),
    _dlm(
        "connect halvm2 node=2 plug=serv-0002\n", "", "", "no connect line is for node 2", "add connect DEVICE node=2"
    ),
    _dlm(
        "connect halvm2", "connect halvm3", "connect halvm3", "device halvm3, which does not exist", "correct the name"
    ),
    _dlm(
        "node=2",
        "node=3",
        "connect halvm2",
        "there is no node 3",
        "give node= one of 1, 2",
        ("no connect line is for node 2",),
    ),
    _dlm("unfence halvm2\n", "", "device halvm2", "no unfence line", "add unfence halvm2"),
    _dlm(
        "unfence halvm1\n\n", "unfence halvm1\n", "device halvm2", "dlm_controld drops both", "put an empty line before"
    ),
    _dlm(
        "connect halvm2", "    connect halvm2", "connect halvm2", "begins with a blank", "first column", ("no section",)
    ),
    _dlm(
        "connect halvm2",
        "\nconnect halvm2",
        "connect halvm2",
        "connect halvm2 stands in no",
        "below the line",
        ("in no section",),
    ),
    _dlm("connect halvm2", "log_debug=1\nconnect halvm2", "log_debug=1\nconn", "drops the device", "empty line before"),
    _dlm(
        "connect halvm1 node=1 plug=serv-0001\n",
        "connect halvm2 node=1 plug=serv-0001\n",
        "connect halvm2 node=1",
        "in the section of device halvm1",
        "below the line of device halvm2",
        ("fenced by one",),
    ),
    _dlm("ip=192.168.1.51", "ip=192.168.10", "device halvm2", "no whole IPv4 address", "all four numbers"),
    _dlm("ip=192.168.1.51", "ip=192.168.1.50", "device halvm2", "fenced by one BMC address", "its own BMC"),
)

MULTIPATH = (
    Variant(
        "multipath.conf",
        "no_path_retry 6",
        "no_path_retry queue",
        "no_path_retry",
        "queues without end",
        "halvm-watchdogd",
        WARNING,
    ),
    Variant(
        "multipath.conf",
        "no_path_retry 6",
        'features "1 queue_if_no_path"',
        "features",
        "queues without end",
        "number of checks",
        WARNING,
    ),
)

VARIANTS = (*COROSYNC, *CLUSTER, *CIB, *LVM, *DLM, *MULTIPATH)
