# SPDX-License-Identifier: Apache-2.0
"""The good CIB, each time with one thing broken."""

from tests.ctl.check.variant import FAULT, WARNING, Variant


def _cib(
    old: str, new: str, at: str, text: str, remedy: str, status: str = FAULT, beside: tuple[str, ...] = ()
) -> Variant:
    return Variant("cib.xml", old, new, at, text, remedy, status, beside)


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


def _group_meta(name: str, value: str) -> str:
    return (
        f'<group id="ha">\n<meta_attributes id="m"><nvpair id="x" name="{name}" value="{value}"/></meta_attributes>\n'
    )


CIB = (
    _cib(
        'name="stonith-enabled" value="true"',
        'name="stonith-enabled" value="false"',
        "stonith-enabled",
        "never fenced",
        "pcs property set stonith-enabled=true",
    ),
    _cib(
        _PROPERTIES,
        _property("fencing-enabled", "false"),
        "fencing-enabled",
        "never fenced",
        "pcs property set fencing-enabled=true",
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
        _PROPERTIES,
        _property("fencing-timeout", "20s"),
        "fencing-timeout",
        "kills a fence after it",
        "pcmk_reboot_timeout=20s",
    ),
    _cib(
        'name="pcmk_host_list" value="serv-0002"',
        'name="pcmk_host_map" value="serv-0002:bay:2"',
        "serv-0002:bay:2",
        "until 3.0.1 takes bay for the node of serv-0002:bay:2",
        "one device for each node",
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
        'name="vg" value="shared_vg"',
        'name="devices" value="naa.60014050000000000000000000000001, /dev/mapper/mpatha"',
        'id="fence-serv-0001" class',
        "fence-serv-0001: /dev/mapper/mpatha may be another LUN on another node",
        "give the LUN's WWID",
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
        "op monitor",
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
        _PROPERTIES,
        _property("startup-fencing", "false"),
        "startup-fencing",
        "counts as down, and is not fenced",
        "startup-fencing=true",
    ),
    _cib(
        '<node id="2" uname="serv-0002"/>',
        '<node id="2" uname="serv-0002"><instance_attributes id="n">'
        '<nvpair id="s" name="maintenance" value="true"/></instance_attributes></node>',
        'uname="serv-0002"',
        "serv-0002 is in maintenance",
        "pcs node unmaintenance serv-0002",
    ),
    _cib(
        '<group id="ha">\n',
        _group_meta("is-managed", "false"),
        'name="is-managed"',
        "ha is unmanaged",
        "pcs resource manage ha",
    ),
    _cib(
        '<group id="ha">\n',
        _group_meta("maintenance", "true"),
        'name="maintenance"',
        "ha is in maintenance",
        "pcs resource meta ha maintenance=",
    ),
    _cib(
        '<group id="ha">\n',
        _group_meta("target-role", "Stopped"),
        'name="target-role"',
        "ha is disabled",
        "pcs resource enable ha",
        WARNING,
    ),
    _cib(
        '<group id="ha">\n',
        _group_meta("requires", "nothing"),
        'name="requires"',
        "ha has requires=nothing",
        "pcs resource meta ha requires=",
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
        beside=("device fence-serv-0001 is in no fencing level",),
    ),
)
