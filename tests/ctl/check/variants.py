"""Good files, each with one thing broken: what check has to say of it."""

from typing import NamedTuple

FAULT, WARNING = "FAULT", "WARNING"


class Variant(NamedTuple):
    """A file of tests/ctl/good in which old is replaced by new, at its first place.

    at: text of the line that the finding has to name; "" for none. text, remedy: parts of what it has to say.
    beside: parts of further findings that follow from the same mistake. alone: the file is checked without the others,
    which would differ from it. agent: fence_halvm itself has to find it.
    """

    file: str
    old: str
    new: str
    at: str
    text: str
    remedy: str
    status: str = FAULT
    beside: tuple[str, ...] = ()
    alone: bool = False
    agent: bool = False


def _corosync(
    old: str, new: str, at: str, text: str, remedy: str, status: str = FAULT, beside: tuple[str, ...] = ()
) -> Variant:
    return Variant("corosync.conf", old, new, at, text, remedy, status, beside, alone=True)


def _cib(
    old: str, new: str, at: str, text: str, remedy: str, status: str = FAULT, beside: tuple[str, ...] = ()
) -> Variant:
    return Variant("cib.xml", old, new, at, text, remedy, status, beside)


def _cluster(old: str, new: str, at: str, text: str, remedy: str, beside: tuple[str, ...] = ()) -> Variant:
    return Variant("cluster.conf", old, new, at, text, remedy, FAULT, beside)


def _lvm(old: str, new: str, at: str, text: str, remedy: str) -> Variant:
    return Variant("lvm.conf", old, new, at, text, remedy)


def _dlm(old: str, new: str, at: str, text: str, remedy: str, beside: tuple[str, ...] = ()) -> Variant:
    return Variant("dlm.conf", old, new, at, text, remedy, FAULT, beside)


_PROPERTIES = '      <cluster_property_set id="cib-bootstrap-options">\n'
_META = '          <nvpair id="fence-serv-0001-meta-failure-timeout"'
_VG_1 = (
    'name="vg" value="shared_vg"/>\n        </instance_attributes>\n        <meta_attributes id="fence-serv-0001-meta">'
)
_ATTRIBUTES_1 = '<instance_attributes id="fence-serv-0001-ia">\n'


def _property(name: str, value: str) -> str:
    return f'{_PROPERTIES}        <nvpair id="p" name="{name}" value="{value}"/>\n'


def _attribute(name: str, value: str) -> str:
    return f'{_ATTRIBUTES_1}          <nvpair id="a" name="{name}" value="{value}"/>\n'


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

CIB = (
    _cib(
        'name="stonith-enabled" value="true"',
        'name="stonith-enabled" value="false"',
        "stonith-enabled",
        "never fenced",
        "pcs property set stonith-enabled=true",
    ),
    _cib('value="stop"', 'value="ignore"', 'value="ignore"', "each half of a split cluster", "no-quorum-policy=stop"),
    _cib(
        _PROPERTIES,
        _property("maintenance-mode", "true"),
        "maintenance-mode",
        "nothing is recovered",
        "maintenance-mode=false",
    ),
    _cib(
        _PROPERTIES,
        _property("stonith-timeout", "20s"),
        "stonith-timeout",
        "kills a fence after it",
        "pcmk_reboot_timeout=20s",
    ),
    _cib(
        'name="pcmk_host_list" value="serv-0002"',
        'name="pcmk_host_list" value="serv-2"',
        'value="serv-2"',
        "is no node of the cluster",
        "correct the name",
        beside=("no stonith device is for serv-0002",),
    ),
    _cib(
        '          <nvpair id="fence-serv-0002-pcmk_host_list" name="pcmk_host_list" value="serv-0002"/>\n',
        "",
        'id="fence-serv-0002" class',
        "has no pcmk_host_list",
        "pcmk_host_list=NODE",
    ),
    _cib(
        'name="ip" value="192.168.1.51"',
        'name="ip" value="192.168.10"',
        'id="fence-serv-0002" class',
        "no whole IPv4 address",
        "all four",
    ),
    _cib(
        'name="ip" value="192.168.1.51"',
        'name="ip" value="192.168.1.50"',
        'id="fence-serv-0002" class',
        "the same BMC address",
        "its own BMC",
    ),
    _cib(
        'name="pcmk_host_list" value="serv-0001"',
        'name="pcmk_host_list" value="serv-0001 serv-0002"',
        "serv-0001 serv-0002",
        "names 2 nodes and one BMC",
        "for each node",
    ),
    _cib(
        'name="provides" value="unfencing"',
        'name="provides" value="fencing"',
        'id="fence-serv-0001" class',
        "provides=unfencing",
        "pcs stonith meta fence-serv-0001",
    ),
    _cib(
        'name="monitor" interval="60s" timeout="60s"',
        'name="monitor" interval="60s" timeout="10s"',
        'timeout="10s"',
        "monitor has 10 s",
        "op monitor timeout=60s",
    ),
    _cib(
        'name="start" interval="0" timeout="60s"',
        'name="start" interval="0" timeout="15000ms"',
        "15000ms",
        "start has 15 s",
        "op start timeout=60s",
    ),
    _cib(
        '          <nvpair id="fence-serv-0001-meta-failure-timeout" name="failure-timeout" value="60s"/>\n',
        "",
        'id="fence-serv-0001" class',
        "no failure-timeout",
        "failure-timeout=60s",
        WARNING,
    ),
    _cib(
        _META,
        '          <nvpair id="t" name="target-role" value="Stopped"/>\n' + _META,
        "target-role",
        "is disabled",
        "pcs stonith enable",
    ),
    _cib(
        _ATTRIBUTES_1,
        _attribute("pcmk_delay_base", "5s"),
        "pcmk_delay_base",
        "delays each failover by 5 s",
        "pcmk_delay_base=",
        WARNING,
    ),
    _cib(
        '          <op id="fence-serv-0001-monitor" name="monitor" interval="60s" timeout="60s"/>\n',
        "",
        'id="fence-serv-0001" class',
        "has no monitor",
        "op add",
        WARNING,
    ),
    _cib(
        _ATTRIBUTES_1,
        _attribute("deadline", "90"),
        'id="fence-serv-0001" class',
        "Pacemaker ends it after 60 s",
        "",
        WARNING,
    )._replace(agent=True),
    _cib(
        _ATTRIBUTES_1, _attribute("proof", "nonsense"), 'id="fence-serv-0001" class', "proof: not a choice", ""
    )._replace(agent=True),
    _cib(
        'rsc="fence-serv-0001" node="serv-0002" score="100"',
        'rsc="fence-serv-0001" node="serv-0001" score="-INFINITY"',
        'id="l-1"',
        "avoids serv-0001",
        "pcs constraint delete l-1",
    ),
    _cib(
        'name="vgname" value="shared_vg"',
        'name="vgname" value="shared"',
        'id="fs-device"',
        "no LVM-activate resource activates shared_vg",
        "there is shared",
        beside=("device fence-serv-0001 fences volume group shared_vg", "device fence-serv-0002 fences"),
    ),
    _cib('value="system_id"', 'value="clvmd"', 'value="clvmd"', "LVM 2.03 does not have", "vg_access_mode=lvmlockd"),
    _cib(
        'value="system_id"',
        'value="tagging"',
        'value="tagging"',
        "keeps no LVM command",
        "vg_access_mode=system_id",
        WARNING,
    ),
    _cib(
        '            <nvpair id="vg-vg_access_mode" name="vg_access_mode" value="system_id"/>\n',
        "",
        'id="vg" class',
        "vg_access_mode is not set",
        "vg_access_mode=system_id",
    ),
    _cib(
        '<instance_attributes id="vg-ia">\n',
        '<instance_attributes id="vg-ia">\n            <nvpair id="l" name="lvname" value="ha-lv"/>\n',
        'id="fs-device"',
        "but vg activates ha-lv",
        "that lvs shows",
    ),
    _cib(
        '<op id="vg-start" name="start" interval="0" timeout="90s"/>',
        "",
        'id="vg" class',
        "start has 20 s",
        "op start timeout=90s",
    ),
    _cib(
        '<op id="fs-stop" name="stop" interval="0" timeout="60s"/>',
        '<op id="fs-stop" name="stop" interval="0" timeout="20s"/>',
        'id="fs-stop"',
        "stop has 20 s",
        "op stop timeout=60s",
        WARNING,
    ),
    _cib(
        '<node id="2" uname="serv-0002"/>',
        '<node id="2" uname="serv-0002"><instance_attributes id="n">'
        '<nvpair id="s" name="standby" value="on"/></instance_attributes></node>',
        'uname="serv-0002"',
        "in standby",
        "pcs node unstandby",
        WARNING,
    ),
    _cib(
        '<group id="ha">\n',
        '<group id="ha">\n<primitive id="d" class="ocf" provider="pacemaker" type="Dummy">'
        '<meta_attributes id="m"><nvpair id="x" name="is-managed" value="false"/></meta_attributes></primitive>\n',
        'name="is-managed"',
        "d is unmanaged",
        "pcs resource manage d",
    ),
    _cib(
        '<node id="2" uname="serv-0002"/>',
        '<node id="2" uname="serv-0002"/><node id="3" uname="serv-0003"/>',
        "serv-0003",
        "it can never be a member",
        "crm_node --remove serv-0003",
    ),
    _cib(
        "    </constraints>\n",
        "    </constraints>\n    <fencing-topology>"
        '<fencing-level id="f" target="serv-0001" index="1" devices="gone"/></fencing-topology>\n',
        "fencing-level",
        "there is no device gone",
        "correct",
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
