# SPDX-License-Identifier: Apache-2.0
import pytest

from fencer.cluster.cluster_conf import parse_cluster
from fencer.cluster.problems import problems
from tests.cluster.example import EXAMPLE, edited


def test_example_has_no_problems():
    assert problems(parse_cluster(EXAMPLE)) == ()


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
    assert any(sentence in str(problem) for problem in problems(edited(old, new)))


def test_device_with_neither_bmc_nor_storage():
    cluster = edited('ipaddr="192.168.1.51" login="ADMIN" passwd="s3cret" vg="shared_vg"', 'login="ADMIN"')
    assert any("neither a BMC address (ip) nor storage" in str(p) for p in problems(cluster))


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
def test_a_method_that_shoots_the_winner(agent: str):
    found = problems(with_backup(POWER_ONLY.replace("fence_ipmilan", agent), BACKUP_LAST))
    (line,) = [str(problem) for problem in found]
    assert line.startswith("line 10: clusternode serv-0002: a node that lost the fence race would still shoot it by ")
    assert line.endswith("method bmc: let that begin with a fence_halvm device with vg or devices, or remove it")


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
    texts = [problem.text for problem in problems(parse_cluster(text))]
    assert "clusternodes serv-0001 and serv-0002 have the same BMC address 192.168.1.50" in texts


@pytest.mark.parametrize("action", ["status", "monitor", "metadata", "List", "validate-all"])
def test_a_device_that_fences_no_node_is_reported(action: str):
    (found,) = problems(edited('<device name="halvm2"/>', f'<device name="halvm2" action="{action}"/>'))
    assert found.text.endswith('device halvm2 does not say action="off" or "reboot": fenced would take it for a fence')


def test_a_method_that_only_switches_on_is_told():
    (found,) = problems(edited('<device name="halvm2"/>', '<device name="halvm2" action="on"/>'))
    assert found.text.endswith("method bmc-and-disk only switches on: fenced would take it for a fence")
    pair = '<device name="halvm2" action="off"/><device name="halvm2" action="on"/>'
    assert problems(edited('<device name="halvm2"/>', pair)) == ()


def test_one_power_switch_may_serve_two_nodes():
    text = EXAMPLE.replace("fence_halvm", "fence_apc").replace("192.168.1.51", "192.168.1.50")
    assert not any("same BMC" in problem.text for problem in problems(parse_cluster(text)))


def test_problems_name_no_password():
    found = problems(edited('<device name="halvm2"/>', '<device name="halvm2" passwd="s3cret2"/>'))
    assert any("passwd has no effect" in problem.text for problem in found)
    assert "s3cret" not in " ".join(map(str, found))


def test_empty_cluster_has_no_node():
    assert problems(parse_cluster('<cluster name="c"/>'))[0].text == "there is no clusternode"


def at(old: str, new: str) -> list[tuple[int, str]]:
    """Line and text of each problem of the example with one thing changed."""
    return [(problem.line, problem.text) for problem in problems(edited(old, new))]


def test_an_address_that_is_cut_short_is_told_with_its_line():
    """The article's own mistake."""
    (found,) = at("192.168.1.51", "192.168.10")
    assert found == (16, "fencedevice halvm2: 192.168.10 is no whole IPv4 address: no BMC answers there")


@pytest.mark.parametrize("address", ["bmc-1", "10.0.0.1", "fe80::1", "10.example.com"])
def test_a_whole_address_or_a_name_is_none(address: str):
    assert at("192.168.1.51", address) == []


def test_two_nodes_that_would_shoot_each_other_are_told():
    without = EXAMPLE.replace(' vg="shared_vg"/>\n', "/>\n").replace("<unfence>", "<!--").replace("</unfence>", "-->")
    (found,) = problems(parse_cluster(without))
    assert (found.line, found.text.split(":")[0]) == (3, "two nodes without arbitration")
    assert problems(parse_cluster(without.replace('name="halvm1" agent', 'name="halvm1" delay="5" agent'))) == ()
    assert problems(parse_cluster(without.replace("<rm>", "<quorumd/><rm>"))) == ()


def test_pacemaker_decides_where_cman_hands_it_the_fence():
    """As pcs writes cluster.conf on RHEL 6."""
    device = (
        '<clusternode name="{0}" nodeid="{1}"><fence><method name="m"><device name="p" port="{0}"/></method></fence>'
    )
    nodes = "".join(f"{device.format(name, number)}</clusternode>" for number, name in enumerate("ab", start=1))
    cluster = parse_cluster(
        f'<cluster name="c"><clusternodes>{nodes}</clusternodes><cman two_node="1"/><fencedevices>'
        '<fencedevice name="p" agent="fence_pcmk"/></fencedevices></cluster>'
    )
    assert problems(cluster) == ()


def with_fs(device: str):
    return at("<service", f'<fs name="FS" device="{device}"/><service')


@pytest.mark.parametrize("device", ["/dev/shared_vg/ha_lv", "/dev/mapper/shared_vg-ha_lv", "/dev/sdc1", "LABEL=ha"])
def test_a_file_system_on_the_volume_that_is_activated(device: str):
    assert with_fs(device) == []


@pytest.mark.parametrize("device", ["/dev/shared_vg/ha-lv", "/dev/mapper/shared_vg-ha--lv"])
def test_a_file_system_on_another_volume_than_the_one_that_is_activated(device: str):
    """The article's own mistake."""
    assert with_fs(device) == [(20, f"fs FS mounts {device}, but lvm lvm activates ha_lv")]


def test_a_file_system_in_a_group_that_nothing_activates():
    assert with_fs("/dev/shared/ha_lv") == [
        (20, "fs FS: /dev/shared/ha_lv: no lvm resource activates volume group shared")
    ]


def test_the_devices_fence_the_group_of_the_services():
    (found,) = at('passwd="s3cret" vg="shared_vg"/>\n  </fence', 'passwd="s3cret" vg="other"/>\n  </fence')
    assert found == (16, "fencedevice halvm2 fences volume group other, the services use shared_vg")


def test_a_failover_domain_of_a_node_that_does_not_exist():
    domain = '<failoverdomains><failoverdomain name="FD"><failoverdomainnode name="serv-001"/></failoverdomain>'
    assert at("<rm>", f"<rm>{domain}</failoverdomains>") == [(18, "failover domain: there is no clusternode serv-001")]


def test_every_problem_has_a_remedy():
    spoiled = EXAMPLE.replace('nodeid="2"', 'nodeid="1"').replace('<device name="halvm2"/>', "<device/>")
    assert all(problem.remedy and str(problem).endswith(problem.remedy) for problem in problems(parse_cluster(spoiled)))
