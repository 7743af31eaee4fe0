# SPDX-License-Identifier: Apache-2.0
"""Rules that need more than one file: the machine, its volume groups, what the other programs say."""

import argparse
from pathlib import Path

import pytest

from fencer import __version__
from fencer.cluster.corosync_conf import parse_corosync
from fencer.ctl.check import machine
from fencer.ctl.check.cluster_rules import agreement_findings, copies_findings
from fencer.ctl.check.configuration import Files, parse
from fencer.ctl.check.corosync_rules import corosync_findings
from fencer.ctl.check.devices import Device, host_names
from fencer.ctl.check.dlm_rules import dlm_findings
from fencer.ctl.check.given_files import check_files
from fencer.ctl.check.lvm_rules import Use, group_findings, lvm_conf_findings
from fencer.ctl.check.machine import (
    bound_findings,
    journal_findings,
    machine_facts,
    machine_files,
    read_hosts,
    running_findings,
)
from fencer.ctl.check.multipath_rules import registering_findings
from fencer.ctl.check.programs import agent_findings, monitored, sidecar_findings
from fencer.ctl.check.service_rules import service_findings
from fencer.ctl.check.stonith_rules import delays_s, stonith_findings
from fencer.ctl.exit_status import CtlStatus
from fencer.ctl.sources.cib import parse_cib
from fencer.ctl.sources.commands import ProgramEnd, ToolAnswer
from fencer.ctl.sources.dlm_conf import parse_dlm_conf
from fencer.ctl.sources.local_files import Fences
from fencer.ctl.sources.lvm_conf import LvmConf, parse_lvm_conf
from fencer.ctl.sources.lvm_report import LogicalVolume, LvmGroup
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.model import Action
from fencer.state.readings import SnapshotReading, SnapshotStatus
from fencer.storage.lun import SharedLuns
from tests.scenes import healthy

GOOD = Path(__file__).parents[1] / "good"
CIB = (GOOD / "cib.xml").read_text()
NODES = ("serv-0001", "serv-0002")
USE = Use("shared_vg", "system_id", "cib.xml", 47)
GROUP = LvmGroup("shared_vg", "serv-0001", "", autoactivation=False, clustered=False)
NO_LVM_CONF = LvmConf({}, ())
DEVICE = Device("cib.xml", 14, "fence-serv-0001", "fence_halvm", ("serv-0001",), {"vg": "shared_vg", "ip": "10.0.0.1"})


# --- volume groups ----------------------------------------------------------------------------------------------------


def test_a_group_on_an_array_that_lacks_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = "/dev/md0: array md0 lacks 1 of its members"
    monkeypatch.setattr(machine, "physical_volumes", lambda *_, **__: ("/dev/md0",))
    monkeypatch.setattr(machine, "find_luns", lambda *_, **__: SharedLuns((), (), (lacking,)))
    (found,) = machine.not_shared_findings(Use("shared_vg", "system_id", "cib.xml", 47))
    assert (found.status, found.text, found.line) == (CtlStatus.FAULT, f"volume group shared_vg: {lacking}", 47)


def test_a_group_that_is_as_the_services_use_it():
    assert group_findings([GROUP], [USE], NODES, NO_LVM_CONF) == []
    locked = GROUP._replace(system_id="", lock_type="dlm")
    assert group_findings([locked], [USE._replace(mode="lvmlockd")], NODES, NO_LVM_CONF) == []


@pytest.mark.parametrize(
    ("group", "use", "text", "remedy"),
    [
        (GROUP._replace(name="x"), USE, "no volume group shared_vg on this node; vgs shows x", "look at filter"),
        (GROUP._replace(system_id=""), USE, "no system ID: two nodes can activate it", "vgchange --systemid"),
        (GROUP._replace(system_id=""), USE._replace(mode=""), "no system ID", "vgchange --systemid"),
        (GROUP._replace(system_id="old"), USE, "belongs to old, which is no node", "vgchange --systemid"),
        (GROUP._replace(lock_type="dlm"), USE, "has lock type dlm, but", "vg_access_mode=lvmlockd"),
        (GROUP, USE._replace(mode="lvmlockd"), "has no lock type", "--lock-type dlm"),
        (GROUP._replace(clustered=True), USE, "clvmd's clustered flag", "--lock-opt force"),
        (GROUP._replace(autoactivation=True), USE, "autoactivation of shared_vg is on", "--setautoactivation n"),
    ],
)
def test_a_group_that_is_not(group: LvmGroup, use: Use, text: str, remedy: str):
    (found,) = group_findings([group], [use], NODES, NO_LVM_CONF)
    assert text in found.text
    assert remedy in found.remedy
    assert (found.source, found.line) == ("cib.xml", 47)


def test_a_group_that_the_devices_file_hides():
    (found,) = group_findings([], [USE], NODES, NO_LVM_CONF, devices_file=True)
    assert "lvmdevices --adddev" in found.remedy


def test_a_file_system_on_a_volume_that_does_not_exist():
    cib = parse_cib(CIB, "cib.xml")
    volume = LogicalVolume("shared_vg", "ha-lv", "/dev/mapper/shared_vg-ha--lv")
    (found,) = service_findings(cib, "cib.xml", [volume])
    assert found.text == "fs mounts /dev/shared_vg/ha_lv, but shared_vg has no ha_lv: it has ha-lv"
    assert CIB.split("\n")[found.line - 1].strip().startswith('<nvpair id="fs-device"')
    assert service_findings(cib, "cib.xml", [volume._replace(name="ha_lv")]) == []


def findings_of_lvm(text: str, use: Use) -> list[str]:
    return [each.text for each in lvm_conf_findings(parse_lvm_conf(text, "F"), [use])]


def test_a_group_under_lvmlockd_needs_lvmlockd():
    use = USE._replace(mode="lvmlockd")
    (found,) = findings_of_lvm("global { use_lvmlockd = 0 }", use)
    assert "use_lvmlockd is 0, but shared_vg is activated through lvmlockd" in found
    assert findings_of_lvm("global { use_lvmlockd = 1 }", use) == []


def test_tags_in_volume_list_are_cmans_way():
    use = USE._replace(mode="tagging")
    assert findings_of_lvm('activation { volume_list = [ "root", "@serv-0001" ] }', use) == []


# --- dlm.conf ---------------------------------------------------------------------------------------------------------


def test_two_nodes_with_power_alone_under_dlm():
    text = (GOOD / "dlm.conf").read_text().replace(" vg=shared_vg", "").replace("unfence ", "# ")
    names = {"1": "serv-0001", "2": "serv-0002"}
    (found,) = dlm_findings(parse_dlm_conf(text, "F"), "F", names)
    assert (found.line, found.text.split(":")[0]) == (8, "two nodes without arbitration")
    delayed = text.replace("ip=192.168.1.50", "ip=192.168.1.50 delay=5")
    assert dlm_findings(parse_dlm_conf(delayed, "F"), "F", names) == []


def test_a_dlm_conf_without_devices_leaves_fencing_to_pacemaker():
    names = {"1": "serv-0001", "2": "serv-0002"}
    assert dlm_findings(parse_dlm_conf("log_debug=1\n enable_fencing=0\n", "F"), "F", names) == []


# --- the CIB ----------------------------------------------------------------------------------------------------------


def texts(cib: str) -> list[str]:
    parsed = parse_cib(cib, "F")
    return [each.text for each in (*stonith_findings(parsed, "F"), *service_findings(parsed, "F"))]


def test_a_failure_timeout_by_default_is_enough():
    without = CIB.replace(
        '          <nvpair id="fence-serv-0001-meta-failure-timeout" name="failure-timeout" value="60s"/>\n', ""
    )
    assert len(texts(without)) == 1
    default = '<meta_attributes id="d"><nvpair id="e" name="failure-timeout" value="60s"/></meta_attributes>'
    assert texts(without.replace("</constraints>", f"</constraints><rsc_defaults>{default}</rsc_defaults>")) == []


def test_no_device_at_all():
    without = CIB[: CIB.index('      <primitive id="fence-serv-0001"')] + CIB[CIB.index('      <group id="ha">') :]
    assert texts(without) == ["there is no stonith device: no node can be fenced"]


def test_two_nodes_with_fence_ipmilan_alone():
    power = CIB.replace("fence_halvm", "fence_ipmilan").replace(
        'name="vg" value="shared_vg"', 'name="lanplus" value="1"'
    )
    (found,) = texts(power)
    assert found.startswith("two nodes without arbitration")
    base = '<nvpair id="d" name="pcmk_delay_base" value="5s"/>'
    delayed = power.replace('<instance_attributes id="fence-serv-0001-ia">', f'<instance_attributes id="i">{base}')
    assert texts(delayed) == []
    both = delayed.replace('<instance_attributes id="fence-serv-0002-ia">', f'<instance_attributes id="j">{base}')
    assert texts(both) == [found]


@pytest.mark.parametrize(
    ("attributes", "duel"),
    [
        ({"pcmk_host_list": "serv-0001 serv-0002"}, True),
        ({"pcmk_host_map": "serv-0001:1;serv-0002:2"}, True),
        ({"pcmk_host_list": "serv-0001 serv-0002", "pcmk_delay_base": "5s"}, True),
        ({"pcmk_host_list": "serv-0001 serv-0002", "pcmk_delay_base": "serv-0001:5s;serv-0002:0"}, False),
        ({"pcmk_host_list": "serv-0001 serv-0002", "pcmk_delay_max": "9s"}, False),
        ({}, False),  # its nodes are not known
    ],
)
def test_two_nodes_with_one_device_for_both(attributes: dict[str, str], duel: bool):
    pairs = "".join(f'<nvpair id="p-{name}" name="{name}" value="{value}"/>' for name, value in attributes.items())
    power = f'<primitive id="p" class="stonith" type="fence_apc"><instance_attributes id="i">{pairs}'
    alone = CIB[: CIB.index('      <primitive id="fence-serv-0001"')] + CIB[CIB.index('      <group id="ha">') :]
    alone = alone.replace("    <resources>\n", f"    <resources>{power}</instance_attributes></primitive>\n")
    assert [text.partition(":")[0] for text in texts(alone)] == ["two nodes without arbitration"] * duel


def test_delays_as_pacemaker_reads_them():
    assert delays_s("5s") == (5.0,)
    assert delays_s("serv-0001:5s;serv-0002:0") == (5.0,)
    assert delays_s("") == delays_s("0") == ()


def test_a_level_by_which_the_loser_of_a_race_would_shoot():
    backup = (
        '<primitive id="backup" class="stonith" type="fence_apc"><instance_attributes id="b"><nvpair id="b1" '
        'name="pcmk_host_list" value="serv-0001 serv-0002"/></instance_attributes></primitive>'
    )
    levels = (
        '<fencing-topology><fencing-level id="f1" target="serv-0001" index="1" devices="fence-serv-0001"/>'
        '<fencing-level id="f2" target="serv-0001" index="2" devices="backup"/></fencing-topology>'
    )
    spoiled = CIB.replace('      <group id="ha">', f'{backup}<group id="ha">').replace(
        "</constraints>", f"</constraints>{levels}"
    )
    assert texts(spoiled) == ["a node that lost the fence race would still shoot serv-0001 by level 2"]


LEVEL = '<fencing-level id="{0}{1}" target="{0}" index="{1}" devices="{2}"/>'


def with_levels(*levels: tuple[str, int, str]) -> str:
    """The good CIB with a device of its own for power, and these levels: target, number, devices."""
    power = (
        '<primitive id="power-{0}" class="stonith" type="fence_ipmilan"><instance_attributes id="p-{0}"><nvpair '
        'id="h-{0}" name="pcmk_host_list" value="{0}"/></instance_attributes></primitive>'
    )
    topology = "".join(LEVEL.format(*level) for level in levels)
    return CIB.replace('      <group id="ha">', "".join(map(power.format, NODES)) + '<group id="ha">').replace(
        "</constraints>", f"</constraints><fencing-topology>{topology}</fencing-topology>"
    )


def test_levels_that_use_every_device_of_ours():
    both = [(node, 1, f"fence-{node}") for node in NODES]
    assert texts(with_levels(*both)) == []
    assert texts(with_levels(*[(node, 1, f"fence-{node},power-{node}") for node in NODES])) == []


def test_a_device_of_ours_that_is_in_no_level_of_its_node():
    found = texts(with_levels(("serv-0001", 1, "power-serv-0001"), ("serv-0002", 1, "fence-serv-0002")))
    assert found == ["device fence-serv-0001 is in no fencing level of serv-0001: serv-0001 is never fenced by it"]


def test_two_nodes_whose_levels_do_not_arbitrate():
    found = texts(with_levels(*[(node, 1, f"power-{node}") for node in NODES]))
    assert [text for text in found if "two nodes without arbitration" in text]


def test_a_group_whose_members_are_in_the_wrong_order():
    first, second = CIB.index('        <primitive id="vg"'), CIB.index('        <primitive id="fs"')
    end = CIB.index("      </group>")
    turned = CIB[:first] + CIB[second:end] + CIB[first:second] + CIB[end:]
    assert texts(turned) == ["group ha mounts fs before vg activates its volume group"]


def test_resources_that_no_group_holds_together():
    loose = CIB.replace('      <group id="ha">\n', "").replace("      </group>\n", "")
    assert texts(loose) == ["nothing orders vg before fs"]
    order = '<rsc_order id="o" first="vg" then="fs"/>'
    assert texts(loose.replace("<constraints>", f"<constraints>{order}")) == ["nothing keeps fs on the node of vg"]
    together = f'{order}<rsc_colocation id="c" rsc="fs" with-rsc="vg" score="INFINITY"/>'
    assert texts(loose.replace("<constraints>", f"<constraints>{together}")) == []


def test_a_service_that_does_not_wait_for_the_fence():
    meta = '<meta_attributes id="m"><nvpair id="r" name="requires" value="quorum"/></meta_attributes>'
    head = '<primitive id="vg" class="ocf" provider="heartbeat" type="LVM-activate">'
    (found,) = texts(CIB.replace(head, head + meta))
    assert "starts on the survivor before the other is fenced" in found


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            '<nvpair id="vg-vgname"',
            '<nvpair id="p" name="partial_activation" value="true"/><nvpair id="vg-vgname"',
            "vg: partial_activation starts the service on a group of which a disk is missing",
        ),
        (
            '<group id="ha">',
            '<group id="ha"><primitive id="d" class="ocf" provider="pacemaker" type="Dummy"><meta_attributes id="m">'
            '<nvpair id="x" name="target-role" value="Stopped"/></meta_attributes></primitive>',
            "d is disabled (target-role=Stopped)",
        ),
        (
            '<group id="ha">',
            '<group id="ha"><primitive id="v" class="ocf" provider="heartbeat" type="LVM-activate">'
            '<instance_attributes id="i"><nvpair id="x" name="vg_access_mode" value="system_id"/></instance_attributes>'
            '<operations><op id="o" name="start" timeout="90s"/><op id="q" name="stop" timeout="90s"/></operations>'
            "</primitive>",
            "v (LVM-activate) names no volume group",
        ),
    ],
)
def test_a_service_that_would_not_start(old: str, new: str, text: str):
    assert texts(CIB.replace(old, new, 1)) == [text]


def test_a_device_with_neither_bmc_nor_storage():
    without = CIB.replace('          <nvpair id="fence-serv-0001-ip" name="ip" value="192.168.1.50"/>\n', "", 1)
    without = without.replace('          <nvpair id="fence-serv-0001-vg" name="vg" value="shared_vg"/>\n', "", 1)
    assert "device fence-serv-0001 has neither a BMC address (ip) nor storage (vg or devices)" in texts(without)


def test_host_lists_as_pacemaker_reads_them():
    assert host_names("a, b;c", "") == ("a", "b", "c")
    assert host_names("", "serv-0001:1;serv-0002:2") == ("serv-0001", "serv-0002")


# --- ways to write a CIB ----------------------------------------------------------------------------------------------

LOOSE = CIB.replace('      <group id="ha">\n', "").replace("      </group>\n", "")
UNORDERED, APART = "nothing orders vg before fs", "nothing keeps fs on the node of vg"


def refs(*names: str) -> str:
    return "".join(f'<resource_ref id="{name}"/>' for name in names)


def sets(tag: str, *members: str, attributes: str = "", of_set: str = "") -> str:
    """A constraint of resource sets."""
    parts = "".join(f'<resource_set id="s{each}" {of_set}>{refs(*each.split())}</resource_set>' for each in members)
    return f'<{tag} id="{tag}" {attributes}>{parts}</{tag}>'


TOGETHER = sets("rsc_colocation", "vg fs", attributes='score="INFINITY"')


@pytest.mark.parametrize(
    ("constraints", "found"),
    [
        (sets("rsc_order", "vg fs") + TOGETHER, []),
        (sets("rsc_order", "vg fs") + TOGETHER.replace("INFINITY", "1000000"), []),
        (sets("rsc_order", "vg", "fs") + sets("rsc_colocation", "fs", "vg", attributes='score="+INFINITY"'), []),
        (sets("rsc_order", "fs vg") + TOGETHER, [UNORDERED]),
        (sets("rsc_order", "vg fs", of_set='sequential="false"') + TOGETHER, [UNORDERED]),
        (sets("rsc_order", "vg fs", of_set='action="stop"') + TOGETHER, [UNORDERED]),
        (sets("rsc_order", "vg fs", attributes='kind="Optional"') + TOGETHER, [UNORDERED]),
        (sets("rsc_order", "vg fs", attributes='kind="Serialize"') + TOGETHER, [UNORDERED]),
        ('<rsc_order id="o" first="vg" then="fs" score="0"/>' + TOGETHER, [UNORDERED]),
        ('<rsc_order id="o" first="vg" then="fs" first-action="stop"/>' + TOGETHER, [UNORDERED]),
        ('<rsc_order id="o" first="vg" then="x"/><rsc_order id="p" first="x" then="fs"/>' + TOGETHER, []),
        ('<rsc_order id="o" first="vg" then="fs"/>' + TOGETHER.replace("INFINITY", "100"), [APART]),
        ('<rsc_order id="o" first="vg" then="fs"/>' + TOGETHER.replace("INFINITY", "-INFINITY"), [APART]),
        (
            '<rsc_order id="o" first="vg" then="fs"/><rsc_colocation id="c" rsc="vg" with-rsc="fs" score="INFINITY"/>',
            [],
        ),
    ],
)
def test_what_orders_and_keeps_together(constraints: str, found: list[str]):
    assert texts(LOOSE.replace("<constraints>", f"<constraints>{constraints}")) == found


def test_a_constraint_of_what_a_resource_is_in():
    first, end = LOOSE.index('        <primitive id="fs"'), LOOSE.index("    </resources>")
    cloned = f'{LOOSE[:first]}<clone id="c"><group id="g">\n{LOOSE[first:end]}</group></clone>{LOOSE[end:]}'
    order = sets("rsc_order", "vg", "c") + sets("rsc_colocation", "c vg", attributes='score="INFINITY"')
    assert texts(cloned.replace("<constraints>", f"<constraints>{order}")) == []


def test_an_order_through_a_member_of_another_group():
    group = '<group id="g"><primitive id="x" class="ocf" provider="pacemaker" type="Dummy"/></group>'
    order = '<rsc_order id="o" first="vg" then="x"/><rsc_order id="p" first="g" then="fs"/>'
    cib = LOOSE.replace("    </resources>", f"{group}</resources>")
    assert texts(cib.replace("<constraints>", f"<constraints>{order}{TOGETHER}")) == []


def test_defaults_with_a_rule_are_not_those_of_everything():
    default = '<meta_attributes id="{0}">{1}<nvpair id="{0}t" name="timeout" value="1s"/></meta_attributes>'
    for rule, timeout_s, names in (('<rule id="r"/>', 20, []), ("", 1, ["timeout"])):
        tags = "".join(f"<{tag}>{default.format(tag, rule)}</{tag}>" for tag in ("op_defaults", "rsc_defaults"))
        cib = parse_cib(CIB.replace("</constraints>", f"</constraints>{tags}"), "F")
        assert (cib.operation_timeout_s, list(cib.resource_defaults)) == (timeout_s, names)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("is-managed", "off", "is-managed is off by default: no resource is recovered"),
        ("maintenance", "true", "maintenance is true by default: no resource is recovered"),
        ("target-role", "stopped", "target-role is stopped by default: no service runs"),
        ("requires", "quorum", "requires is quorum by default: services start before the other node is fenced"),
        ("is-managed", "true", ""),
        ("maintenance", "false", ""),
        ("target-role", "Started", ""),
        ("requires", "fencing", ""),
    ],
)
def test_what_holds_for_each_resource_by_default(name: str, value: str, text: str):
    pair = f'<nvpair id="rd-n" name="{name}" value="{value}"/>'
    tags = f'<rsc_defaults>\n<meta_attributes id="rd">\n{pair}</meta_attributes></rsc_defaults>'
    cib = CIB.replace("  </configuration>", f"{tags}</configuration>")
    found = service_findings(parse_cib(cib, "F"), "F")
    assert [each.text for each in found] == ([text] if text else [])
    assert all(pair in cib.split("\n")[each.line - 1] for each in found)


OWN_MONITOR = '<op id="fence-serv-0001-monitor" name="monitor" interval="60s" timeout="60s"/>'
NO_MONITOR = "device fence-serv-0001 has no monitor: a BMC that dies is noticed when it is needed"
FEW_SECONDS = "device fence-serv-0001: monitor has 5 s"
WITH_IDS = CIB.replace("<operations>", '<operations id="own">', 1).replace("<operations>", '<operations id="ops">', 1)
OPERATIONS = WITH_IDS[WITH_IDS.index('<operations id="own">') : WITH_IDS.index("</operations>") + len("</operations>")]
TEMPLATE = (
    '<template id="t" class="stonith" type="fence_halvm"><operations>'
    '<op id="t-m" name="monitor" interval="9s" timeout="5s"/></operations></template>'
)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('value="stop"', 'value="Ignore"', ["no-quorum-policy is ignore"]),
        ('name="no-quorum-policy" value="stop"', 'name="stop-all-resources" value="yes"', ["stop-all-resources is on"]),
        ("<crm_config>", '<crm_config><cluster_property_set id="z" score="-1"><nvpair id="z1" name="no-quorum-policy"'
         ' value="ignore"/></cluster_property_set>', []),
        ("<crm_config>", '<crm_config><cluster_property_set id="z"><rule id="r"/><nvpair id="z1" name="stonith-enabled"'
         ' value="false"/></cluster_property_set>', []),
        ('value="serv-0001"/>', 'value="SERV-0001"/>', []),
        ('value="serv-0001"/>', 'value="serv-1"/>', ["device fence-serv-0001 is for serv-1", "no stonith device"]),
        ("<nodes>", '<nodes><node id="g" uname="g" type="remote"/>', []),
        (OWN_MONITOR, OWN_MONITOR.replace('timeout="60s"', 'timeout="PT1M"'), []),
        (OWN_MONITOR, OWN_MONITOR.replace('timeout="60s"', 'timeout="60 seconds"'), []),
        (OWN_MONITOR, OWN_MONITOR.replace("/>", ' enabled="false"/>'), [NO_MONITOR]),
        (
            OWN_MONITOR,
            f"{OWN_MONITOR.replace('60s', '5s')}{OWN_MONITOR.replace('60s', '90s')}",
            [FEW_SECONDS],
        ),
        (
            OWN_MONITOR,
            '<op id="m" name="monitor" interval="60s"><meta_attributes id="mm"><nvpair id="mt" name="timeout" '
            'value="60s"/></meta_attributes></op>',
            [],
        ),
        (OPERATIONS, "", [NO_MONITOR]),
        (OPERATIONS, '<operations id-ref="ops"/>', []),
        (
            '<primitive id="fence-serv-0001" class="stonith" type="fence_halvm">',
            f'{TEMPLATE}<primitive id="fence-serv-0001" template="t">',
            [],
        ),
        (
            '<nvpair id="fence-serv-0001-meta-provides" name="provides" value="unfencing"/>',
            '<nvpair id-ref="fence-serv-0002-meta-provides" name="provides"/>',
            [],
        ),
        ('<meta_attributes id="fence-serv-0001-meta">', '<meta_attributes id-ref="fence-serv-0002-meta"/>'
         '<meta_attributes id="fence-serv-0001-meta" score="-1"><nvpair id="p0" name="provides" value="nothing"/>', []),
        (
            "<constraints>",
            '<constraints><rsc_location id="l" rsc="fence-serv-0001"><rule id="r" score="-INFINITY"><expression id="e" '
            'attribute="#uname" operation="eq" value="serv-0001"/></rule></rsc_location>',
            ["fence-serv-0001 avoids serv-0001"],
        ),
        (
            "<constraints>",
            f'<constraints><rsc_location id="l" node="serv-0001" score="-INFINITY"><resource_set id="ls">'
            f"{refs('fence-serv-0001')}</resource_set></rsc_location>",
            ["fence-serv-0001 avoids serv-0001"],
        ),
    ],
)  # fmt: skip
def test_other_ways_to_write_a_cib(old: str, new: str, found: list[str]):
    assert old in WITH_IDS
    told = texts(WITH_IDS.replace(old, new, 1))
    assert len(told) == len(found), told
    assert all(text.startswith(begin) for text, begin in zip(told, found, strict=True)), told


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ('target-pattern="serv-.*"', [NODES[0], NODES[1]]),
        ('target-pattern="1$"', [NODES[0]]),
        ('target-pattern="(["', ["pattern (["]),
        ('target-attribute="rack" target-value="7"', [NODES[1]]),
        ('target-attribute="rack" target-value="8"', ["rack=8"]),
    ],
)
def test_levels_of_nodes_that_are_not_named(target: str, found: list[str]):
    rack = '<node id="2" uname="serv-0002"><instance_attributes id="n"><nvpair id="r" name="rack" value="7"/>'
    cib = CIB.replace('<node id="2" uname="serv-0002"/>', f"{rack}</instance_attributes></node>")
    level = f'<fencing-topology><fencing-level id="f" {target} index="1" devices="x"/></fencing-topology>'
    parsed = parse_cib(cib.replace("</constraints>", f"</constraints>{level}"), "F")
    assert [each.target for each in parsed.levels] == found


@pytest.mark.parametrize(
    "less_and_more",
    [
        ('target-pattern="1"', 'target="serv-0001"'),
        ('target-attribute="rack" target-value="7"', 'target="serv-0001"'),
        ('target-attribute="rack" target-value="7"', 'target-pattern="1"'),
    ],
)
def test_levels_of_one_kind_keep_those_of_another_away(less_and_more: tuple[str, str]):
    rack = '<node id="1" uname="serv-0001"><instance_attributes id="n"><nvpair id="r" name="rack" value="7"/>'
    cib = CIB.replace('<node id="1" uname="serv-0001"/>', f"{rack}</instance_attributes></node>")
    levels = "".join(f'<fencing-level id="f" {target} index="1" devices="x"/>' for target in less_and_more)
    parsed = parse_cib(
        cib.replace("</constraints>", f"</constraints><fencing-topology>{levels}</fencing-topology>"), "F"
    )
    assert [each.target for each in parsed.levels if each.target in NODES] == ["serv-0001"]


def test_nodes_that_resources_make():
    remote = (
        '<primitive id="far" class="ocf" provider="pacemaker" type="remote"/>'
        '<primitive id="vm" class="ocf" provider="heartbeat" type="VirtualDomain"><meta_attributes id="vm-m">'
        '<nvpair id="vm-r" name="remote-node" value="guest"/></meta_attributes></primitive>'
        '<bundle id="b"><podman image="i" replicas="2"/></bundle>'
    )
    cib = CIB.replace('      <group id="ha">', f'{remote}<group id="ha">')
    assert texts(cib) == ["no stonith device is for far: it cannot be fenced"]
    assert texts(cib.replace('value="serv-0001"/>', 'value="serv-0001 far guest b-0 b-1"/>')) == [
        "device fence-serv-0001 names 5 nodes and one BMC: it would switch off the wrong one"
    ]


def test_a_name_too_many_is_a_warning():
    power = '<primitive id="p" class="stonith" type="fence_apc"><instance_attributes id="i"><nvpair id="h" '
    power += 'name="pcmk_host_map" value="serv-0001:1,2;node2:3"/></instance_attributes></primitive>'
    parsed = parse_cib(CIB.replace('      <group id="ha">', f'{power}\n<group id="ha">'), "F")
    (found,) = stonith_findings(parsed, "F")
    assert (found.text.partition(",")[0], found.status) == ("device p is for node2", CtlStatus.WARNING)
    assert stonith_findings(parsed, "F", (*NODES, "node2")) == []


def test_a_volume_group_that_the_old_agent_activates():
    parsed = parse_cib(
        CIB.replace('type="LVM-activate"', 'type="LVM"').replace('name="vgname"', 'name="volgrpname"'), "F"
    )
    (found,) = service_findings(parsed, "F")
    assert found.text == "fs mounts /dev/shared_vg/ha_lv, and no LVM-activate resource activates shared_vg"
    assert found.remedy == "make vg (LVM) an LVM-activate with vg_access_mode=system_id"


def test_a_remote_node_is_in_no_corosync_conf():
    cib = CIB.replace("<nodes>", '<nodes><node id="g" uname="g" type="remote"/>')
    corosync = parse_corosync((GOOD / "corosync.conf").read_text())
    assert agreement_findings(None, (corosync, "C"), (parse_cib(cib, "F"), "F")) == []
    (found,) = agreement_findings(None, (corosync, "C"), (parse_cib(cib.replace(' type="remote"', ""), "F"), "F"))
    assert "which is none of C" in found.text


# --- files of this machine --------------------------------------------------------------------------------------------


def test_copies_that_differ_name_the_line():
    one = (GOOD / "cluster.conf").read_bytes()
    other = one.replace(b'config_version="2"', b'config_version="3"')
    assert copies_findings([("a", one), ("b", one)]) == []
    (found,) = copies_findings([("a", one), ("b", other)])
    assert (found.source, found.line) == ("b", 2)


def test_a_ring_address_that_is_loopback_by_etc_hosts(tmp_path: Path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n127.0.1.1 serv-0001.example.com serv-0001 # Debian\n10.9.0.2 serv-0002\n")
    text = (GOOD / "corosync.conf").read_text().replace("10.9.0.1", "serv-0001").replace("10.9.0.2", "serv-0002")
    (found,) = corosync_findings(text, "F", ("serv-0001",), read_hosts(str(hosts)))
    assert "ring0_addr serv-0001 is 127.0.1.1 by /etc/hosts" in found.text
    assert read_hosts(str(tmp_path / "nosuch")) == {}


def test_a_file_without_nodes_and_quorum():
    found = [each.text for each in corosync_findings("totem {\n cluster_name: a\n}\n", "F")]
    assert [text.split(":")[0] for text in found] == [
        "there is no nodelist",
        "quorum has no provider corosync_votequorum",
    ]


def test_a_host_that_has_another_name():
    (found,) = corosync_findings((GOOD / "corosync.conf").read_text(), "F", ("serv-1",))
    assert "no node is named serv-1, as this host is" in found.text


def test_a_cib_of_more_than_a_mebibyte(tmp_path: Path):
    path = tmp_path / "cib.xml"
    path.write_text(CIB.replace("<status/>", f"<status>{' ' * (3 << 20)}</status>"))
    given = argparse.Namespace(
        cib=str(path), cluster_conf=None, corosync_conf=None, lvm_conf=None, dlm_conf=None, multipath_conf=None,
        local_node="",
    )  # fmt: skip
    assert check_files(given, lambda *_: ProgramEnd(0, "", "")) == []


def test_keys_that_multipathd_registers_have_their_line(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/multipath.conf").write_text("defaults {\n  reservation_key 0x1\n}\n")
    (found,) = registering_findings(str(tmp_path))
    assert (found.source, found.line) == ("/etc/multipath.conf", 2)
    assert "also on a node that was fenced" in found.text


def test_a_cluster_that_does_not_run_is_not_looked_at():
    _, found = machine_files(lambda _argv: ToolAnswer("", "cibadmin: exit status 102: not connected"))
    assert [each.status for each in found if each.source == "CIB"] == [CtlStatus.UNKNOWN]
    _, found = machine_files(lambda _argv: ToolAnswer("", "cibadmin: not installed", missing=True))
    assert not [each for each in found if each.source == "CIB"]


def test_an_lvm_that_does_not_answer_is_not_taken_for_a_good_one():
    configuration = parse(Files())
    machine, found = machine_facts(
        None, configuration, lambda argv: ToolAnswer("", f"{argv[0]}: no answer within 10 s"), root=True
    )
    assert (machine.groups, machine.volumes) == (None, None)
    assert [(each.status, each.text) for each in found] == [
        (CtlStatus.UNKNOWN, "vgs: no answer within 10 s"),
        (CtlStatus.UNKNOWN, "lvs: no answer within 10 s"),
    ]


# --- what the other programs say --------------------------------------------------------------------------------------


def test_what_the_agent_says():
    errors = "fence_halvm: WARNING: deadline: too long: give less\nfence_halvm: ERROR: BMC: no answer: look\n"
    warned, failed = agent_findings(DEVICE, Action.MONITOR, ProgramEnd(1, "", errors))
    assert (warned.status, failed.status) == (CtlStatus.WARNING, CtlStatus.FAULT)
    assert failed.text == "device fence-serv-0001: fence_halvm -o monitor: BMC: no answer: look"
    assert (failed.source, failed.line) == ("cib.xml", 14)
    assert agent_findings(DEVICE, Action.MONITOR, ProgramEnd(0, "", "")) == []
    (silent,) = agent_findings(DEVICE, Action.MONITOR, ProgramEnd(1, "", ""))
    assert "exit status 1" in silent.text


def test_an_agent_that_is_missing_or_hangs_is_unknown_and_not_success():
    (found,) = agent_findings(DEVICE, Action.MONITOR, ProgramEnd(None, "", "fence_halvm: no answer within 25 s"))
    assert found.status is CtlStatus.UNKNOWN


def test_each_of_our_devices_is_monitored_with_its_own_options():
    said: list[str] = []

    def run(_argv: object, given: str, _limit_s: float) -> ProgramEnd:
        said.append(given)
        return ProgramEnd(0, "", "")

    other = DEVICE._replace(name="other", agent="fence_ipmilan")
    passwords = DEVICE._replace(attributes={**DEVICE.attributes, "password": "s3cret", "action": "off"})
    assert monitored([DEVICE, passwords, other], run) == []
    assert len(said) == 2
    lines = next(text for text in said if "s3cret" in text).splitlines()
    assert {"action=monitor", "nodename=serv-0001", "vg=shared_vg", "journal=none", "password=s3cret"} <= set(lines)
    assert "action=off" not in lines


def test_what_the_sidecar_says():
    good = ProgramEnd(0, "F: ok\nnode a, key 0x1\nadvice: sdb: the SCSI timeout is 30 s\n", "")
    (advice,) = sidecar_findings("F", good)
    assert (advice.status, advice.text.endswith("sdb: the SCSI timeout is 30 s")) == (CtlStatus.WARNING, True)
    found = sidecar_findings("F", ProgramEnd(1, "", "halvm-watchdogd: F: watchdog: busy\nhalvm-watchdogd: vg: gone\n"))
    assert [each.text.partition("--check-config: ")[2] for each in found] == ["watchdog: busy", "vg: gone"]
    assert sidecar_findings("F", ProgramEnd(None, "", "no answer"))[0].status is CtlStatus.UNKNOWN


def test_proof_by_self_needs_a_sidecar_and_its_bound():
    device = DEVICE._replace(attributes={"proof": "self", "self_fence_bound": "10"})
    (found,) = bound_findings([device], SnapshotReading(SnapshotStatus.MISSING))
    assert "no sidecar runs here" in found.text
    snapshot = healthy().snapshot.snapshot
    assert snapshot is not None
    fresh = SnapshotReading(SnapshotStatus.FRESH, snapshot._replace(bound_s=84.0))
    (found,) = bound_findings([device], fresh)
    assert "self_fence_bound is 10 s, the sidecar's own bound 84 s" in found.text
    enough = device._replace(attributes={"proof": "self", "self_fence_bound": "90"})
    assert list(bound_findings([enough], fresh)) == []


def test_a_sidecar_that_is_configured_has_to_run():
    (found,) = running_findings(SnapshotReading(SnapshotStatus.OTHER_BOOT, problem="it has not run"))
    assert found.remedy == "systemctl enable --now halvm-watchdogd"
    assert list(running_findings(SnapshotReading(SnapshotStatus.MISSING))) == []
    (found,) = running_findings(SnapshotReading(SnapshotStatus.MALFORMED, problem="torn"))
    assert found.status is CtlStatus.UNKNOWN


@pytest.mark.parametrize(
    ("version", "texts"),
    [
        (__version__, []),
        ("0.0.9", [f"the sidecar that runs is of version 0.0.9, and {__version__} is installed"]),
    ],
)
def test_a_sidecar_that_was_not_restarted_after_an_upgrade(version: str, texts: list[str]):
    reading = healthy().snapshot
    assert reading.snapshot is not None
    running = reading._replace(snapshot=reading.snapshot._replace(version=version))
    assert [each.text for each in running_findings(running)] == texts


def test_what_the_journal_tells():
    failed = Event(
        1.0, 2.0, EventKind.FENCE, "fence_halvm", "a", "b", "off", FenceOutcome.FAILURE, error="BMC: no answer"
    )
    (found,) = journal_findings(Fences((failed,)))
    assert "the last fence, of b, ended with failure: BMC: no answer" in found.text
    assert next(journal_findings(Fences(problem="journal: locked"))).text == "journal: locked"
    assert list(journal_findings(Fences())) == []
