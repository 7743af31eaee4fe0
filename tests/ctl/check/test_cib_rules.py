# SPDX-License-Identifier: Apache-2.0
"""Rules of the CIB: stonith devices, levels, services, and the ways to write them."""

from pathlib import Path

import pytest

from fencer.cluster.corosync_conf import parse_corosync
from fencer.ctl.check.cluster_rules import agreement_findings
from fencer.ctl.check.devices import host_names
from fencer.ctl.check.service_rules import service_findings
from fencer.ctl.check.stonith_rules import delays_s, stonith_findings
from fencer.ctl.exit_status import CtlStatus
from fencer.ctl.sources.cib import parse_cib

GOOD = Path(__file__).parents[1] / "good"
CIB = (GOOD / "cib.xml").read_text()
NODES = ("serv-0001", "serv-0002")


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
