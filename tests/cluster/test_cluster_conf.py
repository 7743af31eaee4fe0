import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencer.cluster.cluster_conf import (
    find_local_node,
    match_host_names,
    merged_attributes,
    other_node,
    parse_cluster,
    problems,
    read_cluster,
)
from fencer.errors import FenceError, UsageError

EXAMPLE = """<?xml version="1.0"?>
<cluster name="lvm-cluster" config_version="2">
  <cman two_node="1" expected_votes="1"/>
  <clusternodes>
    <clusternode name="serv-0001" nodeid="1">
      <fence><method name="bmc-and-disk"><device name="halvm1"/></method></fence>
      <unfence><device name="halvm1" action="on"/></unfence>
    </clusternode>
    <clusternode name="serv-0002" nodeid="2">
      <fence><method name="bmc-and-disk"><device name="halvm2"/></method></fence>
      <unfence><device name="halvm2" action="on"/></unfence>
    </clusternode>
  </clusternodes>
  <fencedevices>
    <fencedevice name="halvm1" agent="fence_halvm" ipaddr="192.168.1.50" login="ADMIN" passwd="s3cret" vg="shared_vg"/>
    <fencedevice name="halvm2" agent="fence_halvm" ipaddr="192.168.1.51" login="ADMIN" passwd="s3cret" vg="shared_vg"/>
  </fencedevices>
  <rm>
    <resources><lvm name="lvm" vg_name="shared_vg" lv_name="ha_lv"/></resources>
    <service name="serv"><lvm ref="lvm"/></service>
  </rm>
</cluster>
"""


def edited(old: str, new: str):
    assert old in EXAMPLE
    return parse_cluster(EXAMPLE.replace(old, new))


def test_example_parses():
    cluster = parse_cluster(EXAMPLE)
    assert (cluster.name, cluster.config_version, cluster.two_node) == ("lvm-cluster", 2, True)
    assert [(n.name, n.node_id) for n in cluster.nodes] == [("serv-0001", 1), ("serv-0002", 2)]
    assert cluster.nodes[0].fence_methods[0].name == "bmc-and-disk"
    assert cluster.nodes[1].unfence[0].attributes == {"action": "on"}
    assert cluster.volume_groups == ("shared_vg",)
    assert [(i.name, i.position) for i in cluster.identities] == [("serv-0001", 0), ("serv-0002", 1)]


def test_example_has_no_problems():
    assert problems(parse_cluster(EXAMPLE)) == ()


def test_repr_shows_no_password():
    assert "s3cret" not in repr(parse_cluster(EXAMPLE))


def test_volume_groups_are_found_inside_services_once():
    cluster = edited('<lvm ref="lvm"/>', '<lvm name="b" vg_name="other"/><lvm name="c" vg_name="shared_vg"/>')
    assert cluster.volume_groups == ("shared_vg", "other")


def test_merged_as_fenced_writes_them():
    cluster = edited('<device name="halvm1"/>', '<device name="halvm1" login="X" delay="5"/>')
    node = cluster.nodes[0]
    merged = merged_attributes(cluster, node, node.fence_methods[0].devices[0])
    assert list(merged.items()) == [
        ("login", "ADMIN"),  # the fencedevice overrides the node
        ("delay", "5"),
        ("nodename", "serv-0001"),
        ("agent", "fence_halvm"),
        ("ipaddr", "192.168.1.50"),
        ("passwd", "s3cret"),
        ("vg", "shared_vg"),
    ]


def test_unfence_passes_the_action_of_the_file():
    cluster = parse_cluster(EXAMPLE)
    node = cluster.nodes[1]
    assert merged_attributes(cluster, node, node.unfence[0])["action"] == "on"


def test_nodename_is_not_added_to_one_that_is_there():
    cluster = edited('<device name="halvm1"/>', '<device name="halvm1" nodename="alias"/>')
    node = cluster.nodes[0]
    assert merged_attributes(cluster, node, node.fence_methods[0].devices[0])["nodename"] == "alias"


def test_merging_an_unknown_device_is_a_usage_error():
    cluster = edited('<device name="halvm1"/>', '<device name="nosuch"/>')
    node = cluster.nodes[0]
    with pytest.raises(UsageError, match="no fencedevice 'nosuch'"):
        merged_attributes(cluster, node, node.fence_methods[0].devices[0])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('name="lvm-cluster" ', "", "the cluster has no name"),
        ('name="serv-0002" nodeid', 'name="SERV-0001" nodeid', "more than one clusternode SERV-0001"),
        ('name="serv-0002" nodeid', "nodeid", "clusternode 2 has no name"),
        ('nodeid="2"', 'nodeid="1"', "serv-0001 and serv-0002 have the same nodeid 1"),
        (' nodeid="2"', "", "clusternode serv-0002 has no nodeid"),
        ('nodeid="2"', 'nodeid="0"', "clusternode serv-0002 has no nodeid"),
        ('<device name="halvm2"/>', '<device name="gone"/>', "device gone refers to a fencedevice that does not exist"),
        ('<device name="halvm2"/>', "<device/>", "has a device without a name"),
        ('<device name="halvm2"/>', "", "method bmc-and-disk has no device"),
        ('<device name="halvm2"/>', '<device name="halvm2"/>' * 9, "more than 8 devices"),
        (
            '<fence><method name="bmc-and-disk"><device name="halvm2"/></method></fence>',
            "",
            "serv-0002 has no fence method",
        ),
        ('ipaddr="192.168.1.51" ', 'ipaddr="192.168.1.50" ', "have the same BMC address 192.168.1.50"),
        ('name="halvm2" agent="fence_halvm"', 'name="halvm2"', "fencedevice halvm2 names no agent"),
        ('name="halvm2" agent', 'name="halvm1" agent', "more than one fencedevice halvm1"),
        ('<device name="halvm2" action="on"/>', '<device name="halvm2"/>', 'does not say action="on"'),
        ('<unfence><device name="halvm2" action="on"/></unfence>', "", "serv-0002 has no unfence device"),
        ('<device name="halvm2"/>', '<device name="halvm2" login="Y"/>', "attribute login has no effect"),
        ('ipaddr="192.168.1.51"', 'ipaddr="a&#10;action=off"', "attribute ipaddr contains a line break"),
        ("</clusternodes>", '<clusternode name="c" nodeid="3"/></clusternodes>', "two_node is set in a cluster of 3"),
    ],
)
def test_problem_is_named(old, new, sentence):
    assert any(sentence in problem for problem in problems(edited(old, new)))


def test_device_with_neither_bmc_nor_storage():
    cluster = edited('ipaddr="192.168.1.51" login="ADMIN" passwd="s3cret" vg="shared_vg"', 'login="ADMIN"')
    assert any("neither a BMC address (ip) nor storage" in p for p in problems(cluster))


POWER_ONLY = '<fencedevice name="backup" agent="fence_ipmilan" ipaddr="192.168.1.99" login="ADMIN" passwd="s3cret"/>'


def with_backup(device: str, methods: str):
    """serv-0002 is fenced by these methods; backup is the device."""
    text = EXAMPLE.replace('<method name="bmc-and-disk"><device name="halvm2"/></method>', methods)
    return parse_cluster(text.replace("</fencedevices>", f"{device}</fencedevices>"))


BACKUP_LAST = '<method name="disk"><device name="halvm2"/></method><method name="bmc"><device name="backup"/></method>'
BACKUP_FIRST = '<method name="bmc"><device name="backup"/></method><method name="disk"><device name="halvm2"/></method>'


IPMI_AGENTS = [
    "fence_ipmilan",
    "fence_ipmilanplus",
    "fence_idrac",
    "fence_ilo3",
    "fence_ilo4",
    "fence_ilo5",
    "fence_imm",
]
OTHER_POWER_AGENTS = ["fence_redfish", "fence_apc_snmp", "fence_apc", "fence_drac5", "fence_not_known_here"]


@pytest.mark.parametrize("agent", ["fence_halvm", *IPMI_AGENTS, *OTHER_POWER_AGENTS])
def test_a_method_that_shoots_whoever_won(agent: str):
    found = problems(with_backup(POWER_ONLY.replace("fence_ipmilan", agent), BACKUP_LAST))
    assert found == (
        "clusternode serv-0002: a node that lost the fence race would still shoot it by method bmc: "
        "let that begin with a fence_halvm device with vg or devices, or remove it",
    )


@pytest.mark.parametrize(
    ("device", "methods"),
    [
        (POWER_ONLY, BACKUP_FIRST),
        (POWER_ONLY.replace("fence_ipmilan", "fence_halvm").replace("/>", ' vg="shared_vg"/>'), BACKUP_LAST),
        (POWER_ONLY, BACKUP_LAST.replace('<device name="backup"', '<device name="halvm2"/><device name="backup"')),
        (POWER_ONLY.replace("fence_ipmilan", "fence_scsi"), BACKUP_LAST),
        (POWER_ONLY.replace("fence_ipmilan", "fence_kdump"), BACKUP_LAST),
    ],
    ids=["before the race", "arbitrates, too", "after one that does", "no power agent", "one that waits"],
)
def test_a_second_method_that_is_no_problem(device: str, methods: str):
    assert problems(with_backup(device, methods)) == ()


@pytest.mark.parametrize("agent", IPMI_AGENTS)
def test_two_nodes_with_one_bmc_are_told_whatever_its_agent_is_called(agent: str):
    text = EXAMPLE.replace("fence_halvm", agent).replace("192.168.1.51", "192.168.1.50")
    assert "clusternodes serv-0001 and serv-0002 have the same BMC address 192.168.1.50" in problems(
        parse_cluster(text)
    )


@pytest.mark.parametrize("action", ["status", "monitor", "metadata", "List", "validate-all"])
def test_a_device_that_fences_nobody_is_told(action: str):
    (found,) = problems(edited('<device name="halvm2"/>', f'<device name="halvm2" action="{action}"/>'))
    assert found.endswith('device halvm2 does not say action="off" or "reboot": fenced would take it for a fence')


def test_a_method_that_only_switches_on_is_told():
    (found,) = problems(edited('<device name="halvm2"/>', '<device name="halvm2" action="on"/>'))
    assert found.endswith("method bmc-and-disk only switches on: fenced would take it for a fence")
    pair = '<device name="halvm2" action="off"/><device name="halvm2" action="on"/>'
    assert problems(edited('<device name="halvm2"/>', pair)) == ()


def test_one_power_switch_may_serve_two_nodes():
    text = EXAMPLE.replace("fence_halvm", "fence_apc").replace("192.168.1.51", "192.168.1.50")
    assert problems(parse_cluster(text)) == ()


def test_problems_name_no_password():
    found = problems(edited('<device name="halvm2"/>', '<device name="halvm2" passwd="s3cret2"/>'))
    assert any("passwd has no effect" in problem for problem in found)
    assert "s3cret" not in " ".join(found)


def test_empty_cluster_has_no_node():
    assert "there is no clusternode" in problems(parse_cluster('<cluster name="c"/>'))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('<cluster name="c">\n<clusternodes>\n</cluster>', "cluster_conf: F line 3: mismatched tag: correct the XML"),
        ("", "F line 1: no element found"),
        ("<corosync/>", "F: the root element is <corosync>"),
        ('<cluster config_version="x"/>', "F: cluster: config_version='x' is not a number"),
        (
            '<cluster><clusternodes><clusternode name="a" nodeid="\u0661"/></clusternodes></cluster>',
            "F: clusternode a: nodeid='\u0661' is not a number",
        ),
        (f'<cluster config_version="{"9" * 5000}"/>', "is not a number"),
        ("<cluster name='\ud800'/>", "save the file as UTF-8"),
        (b"<?xml version='1.0' encoding='nosuch'?><cluster/>", "F line 1: unknown encoding"),
        (b"\xff\xfe\x00", "F line 1"),
    ],
)
def test_what_is_not_a_cluster_conf(content, message):
    with pytest.raises(UsageError) as caught:
        parse_cluster(content, "F")
    assert message in str(caught.value)


def test_billion_laughs_is_refused_before_it_is_told():
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    with pytest.raises(UsageError, match="line 1: a document type declaration is not accepted"):
        parse_cluster(f'<!DOCTYPE c [<!ENTITY l0 "ha">{entities}]><cluster name="&l11;"/>')


def test_external_entity_is_not_read(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(UsageError, match="document type"):
        parse_cluster(f'<!DOCTYPE c [<!ENTITY e SYSTEM "file://{secret}">]><cluster name="c">&e;</cluster>')


def test_deep_nesting_does_no_harm():
    assert parse_cluster("<cluster name='c'>" + "<a>" * 20000 + "</a>" * 20000 + "</cluster>").name == "c"


@given(st.text() | st.binary())
def test_any_content_parses_or_is_a_fence_error(content):
    with contextlib.suppress(FenceError):
        problems(parse_cluster(content))


@given(st.integers(0, len(EXAMPLE) - 1), st.text(max_size=12), st.integers(0, 40))
def test_any_edit_of_a_real_one_parses_or_is_a_fence_error(at, inserted, dropped):
    with contextlib.suppress(FenceError):
        cluster = parse_cluster(EXAMPLE[:at] + inserted + EXAMPLE[at + dropped :])
        problems(cluster)
        find_local_node(cluster, ["serv-0001"])


def test_unreadable_file_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"nosuch: No such file or directory: give the path"):
        read_cluster(str(tmp_path / "nosuch"))
    with pytest.raises(UsageError):
        read_cluster("a\0b")


def test_file_is_read(tmp_path: Path):
    path = tmp_path / "cluster.conf"
    path.write_text(EXAMPLE)
    assert read_cluster(str(path)) == parse_cluster(EXAMPLE)


@pytest.mark.parametrize(
    ("nodes", "hosts", "index"),
    [
        (["a", "b"], ["b"], 1),
        (["a", "b"], ["B"], 1),
        (["a.x.org", "b.x.org"], ["b"], 1),
        (["a", "b"], ["b.x.org"], 1),
        (["b", "b.x.org"], ["b.x.org", "host"], 1),  # exact before short
        (["b.x.org", "b.y.org"], ["b"], None),  # ambiguous
        (["a", "b"], ["a", "b"], None),
        (["b.x.org"], ["b.y.org"], None),
        (["192", "10.0.0.1"], ["192.168.1.1"], None),
        (["a"], [], None),
        (["", "a"], ["", ".x"], None),
    ],
)
def test_local_node_by_host_names(nodes, hosts, index):
    assert match_host_names(nodes, hosts) == index


def test_other_of_two_nodes():
    cluster = parse_cluster(EXAMPLE)
    local = find_local_node(cluster, ["serv-0001.example.com"])
    assert local is cluster.nodes[0]
    assert other_node(cluster, local) is cluster.nodes[1]


def test_other_of_three_must_be_said():
    cluster = edited("</clusternodes>", '<clusternode name="c" nodeid="3"/></clusternodes>')
    with pytest.raises(UsageError, match="give -n NAME"):
        other_node(cluster, cluster.nodes[0])
