# SPDX-License-Identifier: Apache-2.0
"""Each source's parser on what the program really printed: tests/ctl/captured, from the lab's cluster (Debian 12)."""

from pathlib import Path

import pytest

from fencer.cluster.xml_lines import parse_xml
from fencer.ctl.sources.cib import parse_cib
from fencer.ctl.sources.cib_values import seconds
from fencer.ctl.sources.crm_mon import Failure, Node, parse_crm_mon
from fencer.ctl.sources.dlm_conf import parse_dlm_conf
from fencer.ctl.sources.lvm_conf import parse_lvm_conf
from fencer.ctl.sources.lvm_report import LvmGroup, parse_lvs, parse_vgs
from fencer.ctl.sources.mounts import Mount, parse_mounts, read_mounts
from fencer.ctl.sources.quorum import Member, parse_quorum
from fencer.errors import UsageError

CAPTURED = Path(__file__).parents[1] / "captured"
GOOD = Path(__file__).parents[1] / "good"


def captured(name: str) -> str:
    return (CAPTURED / name).read_text()


def test_quorum_of_two_nodes():
    quorum = parse_quorum(captured("corosync-quorumtool.txt"))
    assert (quorum.quorate, quorum.votes, quorum.needed, quorum.expected) == (True, 2, 1, 2)
    assert quorum.flags == ("2Node",)
    assert quorum.members == (Member(1, "serv-0001", 1, local=True), Member(2, "serv-0002", 1, local=False))


def test_a_partition_without_quorum_with_a_quorum_device():
    """As corosync-quorumtool(8) shows them."""
    text = captured("corosync-quorumtool.txt").replace("Quorate:          Yes", "Quorate:          No")
    text = text.replace("Quorum:           1  ", "Quorum:           2 Activity blocked")
    text = f"{text}         0          1            Qdevice\n"
    text = text.replace("Votes Name", "Votes    Qdevice Name").replace(
        "         1 serv-0001", "         1    A,V,NMW serv-0001"
    )
    quorum = parse_quorum(text)
    assert (quorum.quorate, quorum.needed, [each.name for each in quorum.members]) == (
        False,
        2,
        ["serv-0001", "serv-0002"],
    )


@pytest.mark.parametrize("text", ["", "Cannot initialize CMAP service", "Quorate: Yes", "Total votes: x\nQuorate: No"])
def test_what_is_no_quorum_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_quorum(text)


def test_pacemaker_with_a_failed_start_of_a_fence_device():
    pacemaker = parse_crm_mon(captured("crm_mon-up.xml"))
    assert (pacemaker.dc, pacemaker.quorate, pacemaker.stonith_enabled) == ("serv-0002", True, True)
    assert pacemaker.nodes == (Node("serv-0001", "online"), Node("serv-0002", "online"))
    assert [(each.name, each.role, each.nodes) for each in pacemaker.resources] == [
        ("fence-serv-0001", "Started", ("serv-0002",)),
        ("fence-serv-0002", "Started", ("serv-0002",)),
        ("vg", "Started", ("serv-0001",)),
        ("fs", "Started", ("serv-0001",)),
    ]
    assert [each.is_stonith for each in pacemaker.resources] == [True, True, False, False]
    assert pacemaker.failures == (Failure("fence-serv-0002_start_0", "serv-0001", "error", "complete"),)


@pytest.mark.parametrize(
    ("options", "enabled"),
    [
        ('stonith-enabled="false"', False),
        ('fencing-enabled="false" stonith-enabled="false"', False),
        ('fencing-enabled="false"', False),
        ('fencing-enabled="true"', True),
        ("", True),
    ],
    ids=["until 3.0.1", "3.0.2", "later", "later, enabled", "not said"],
)
def test_fencing_is_enabled_by_either_name(options: str, enabled: bool):
    """Pacemaker 3.0.2 prints both names. Source: xml/api/crm_mon-2.42.rng."""
    text = captured("crm_mon-up.xml").replace('stonith-enabled="true"', options)
    assert parse_crm_mon(text).stonith_enabled is enabled


def test_pacemaker_after_a_failover():
    pacemaker = parse_crm_mon(captured("crm_mon-after-a-failover.xml"))
    stopped = {each.name for each in pacemaker.resources if each.role == "Stopped"}
    assert stopped == {"fence-serv-0001", "fs"}


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        ('unclean="false"', 'unclean="true"', "UNCLEAN"),
        ('standby="false"', 'standby="true"', "standby"),
        ('online="true"', 'online="false"', "OFFLINE"),
        ('pending="false"', 'pending="true"', "pending"),
    ],
)
def test_the_state_of_a_node(old, new, state):
    text = captured("crm_mon-up.xml").replace(old, new, 1)
    assert parse_crm_mon(text).nodes[0].state == state


def test_pacemaker_that_does_not_run_says_so_itself():
    with pytest.raises(ValueError, match="Connection to cluster failed: Connection refused"):
        parse_crm_mon(captured("crm_mon-not-running.xml"))


@pytest.mark.parametrize("text", ["", "<html/>", "<pacemaker-result/>"])
def test_what_is_no_crm_mon_is_a_value_error(text):
    with pytest.raises(ValueError, match="crm_mon"):
        parse_crm_mon(text)


def test_volume_groups():
    (group,) = parse_vgs(captured("vgs.json"))
    assert group == LvmGroup("shared_vg", "serv-0001", "", autoactivation=False, clustered=False)
    old = captured("vgs.json").replace(', "vg_autoactivation":""', "").replace("wz--n-", "wz--nc")
    assert parse_vgs(old)[0][3:] == (None, True)
    on = captured("vgs.json").replace('"vg_autoactivation":""', '"vg_autoactivation":"enabled"')
    assert parse_vgs(on)[0].autoactivation is True


def test_logical_volumes():
    (volume,) = parse_lvs(captured("lvs.json"))
    assert volume == ("shared_vg", "ha_lv", "/dev/mapper/shared_vg-ha_lv")


@pytest.mark.parametrize("text", ["", "[]", '{"report": 1}', "{" * 10000, '{"report": [{"vg": [{}]}]}'])
def test_what_is_no_report_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_vgs(text)


def test_mounts():
    lines = (
        "36 25 253:0 / /srv/ha\\040x rw,relatime shared:1 - ext4 /dev/mapper/shared_vg-ha_lv rw,stripe=8192\n"
        "37 25 253:1 / /srv/b ro,relatime - ext4 /dev/mapper/b rw\n"
    )
    assert parse_mounts(lines) == (
        Mount("/dev/mapper/shared_vg-ha_lv", "/srv/ha x", "ext4", read_only=False),
        Mount("/dev/mapper/b", "/srv/b", "ext4", read_only=True),
    )
    assert any(mount.directory == "/" for mount in read_mounts())
    on_the_volume = Mount("/dev/mapper/shared_vg-ha_lv", "/mnt", "ext4", read_only=False)
    assert parse_mounts(captured("mountinfo"))[-1] == on_the_volume
    with pytest.raises(ValueError, match="not understood"):
        parse_mounts("36 25")


def test_a_cib():
    cib = parse_cib(captured("cib.xml"), "cib.xml")
    assert [each.name for each in cib.stonith] == ["fence-serv-0001", "fence-serv-0002"]
    assert [each.name for each in cib.nodes] == ["serv-0001", "serv-0002"]
    assert cib.groups == {"ha": ("vg", "fs")}
    (activation,) = cib.of_kind("LVM-activate")
    assert (activation.value("vgname"), activation.parent) == ("shared_vg", "ha")
    assert [(each.resource, each.node, each.score) for each in cib.locations] == [
        ("fence-serv-0001", "serv-0002", "100"),
        ("fence-serv-0002", "serv-0001", "100"),
    ]


def test_every_line_of_a_cib_is_where_its_value_stands():
    text = (GOOD / "cib.xml").read_text()
    lines = text.split("\n")
    cib = parse_cib(text, "F")
    for primitive in cib.primitives:
        assert f'id="{primitive.name}"' in lines[primitive.line - 1]
        for name, value in {**primitive.attributes, **primitive.meta}.items():
            assert f'name="{name}" value="{value.text}"' in lines[value.line - 1]


def test_a_template_gives_what_the_primitive_does_not():
    cib = parse_cib(
        '<cib><configuration><resources><template id="t" class="stonith" type="fence_halvm"><instance_attributes>'
        '<nvpair name="vg" value="a"/><nvpair name="proof" value="any"/></instance_attributes></template>'
        '<primitive id="p" template="t"><instance_attributes><nvpair name="vg" value="b"/></instance_attributes>'
        "</primitive></resources><op_defaults><meta_attributes><nvpair name='timeout' value='45s'/></meta_attributes>"
        "</op_defaults></configuration></cib>",
        "F",
    )
    (device,) = cib.stonith
    assert (device.kind, device.value("vg"), device.value("proof")) == ("fence_halvm", "b", "any")
    assert cib.operation_timeout_s == 45


@pytest.mark.parametrize("text", ["<cib/>", "<html/>", "<cib><configuration>"])
def test_what_is_no_cib_is_one_sentence(text):
    with pytest.raises(UsageError, match=r"^cib: F"):
        parse_cib(text, "F")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("60", 60),
        ("60s", 60),
        ("1min", 60),
        ("500ms", 0.5),
        ("2h", 7200),
        ("x", None),
        ("", None),
        ("60 Seconds", 60),
        ("2minutes", 120),
        ("1.5s", 1),
        ("PT1M30S", 90),
        ("P1DT1H", 90000),
        ("5 years", None),
    ],
)
def test_times_of_pacemaker(text, number):
    assert seconds(text) == number


def test_lvm_conf():
    conf = parse_lvm_conf((GOOD / "lvm.conf").read_text(), "F")
    assert conf.settings["devices/filter"].values == ("a|/dev/mapper/.*|", "a|/dev/sda.*|", "r|.*|")
    assert conf.settings["devices/filter"].line == 2
    assert conf.place("global/system_id_source") == ("F", 8)
    assert conf.text("global/use_lvmlockd", "x") == "0"
    assert conf.place("global/nosuch") == ("F", 0)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("global/use_lvmlockd=1", "global/use_lvmlockd", "1"),
        ("global { use_lvmlockd = 1 }", "global/use_lvmlockd", "1"),
        ('a { b { c = "x # y" } } # z', "a/b/c", "x # y"),
        ("activation { volume_list = [] }", "activation/volume_list", ""),
        ('devices { preferred_names = [ "^/dev/[hs]d" ] } # [', "devices/preferred_names", "^/dev/[hs]d"),
        ('devices {\nfilter = [ "a|[0-9]|", # [ {\n"r|.*|" ]\n}', "devices/filter", "a|[0-9]|"),
        ("global\n{\nuse_lvmlockd =\n1\n}", "global/use_lvmlockd", "1"),
        ("global { /use_lvmlockd = 1 }", "global/use_lvmlockd", "1"),
        ('"global" { "use_lvmlockd"=1 }', "global/use_lvmlockd", "1"),
        ("global { system_id_source = none } global { system_id_source = uname }", "global/system_id_source", "uname"),
        ('a = "}" b = \'"\' c = "\\""', "b", '"'),
    ],
)
def test_other_ways_to_write_lvm_conf(text, name, value):
    assert parse_lvm_conf(text, "F").text(name, "nothing") == value


def test_a_setting_is_in_the_line_of_its_name():
    conf = parse_lvm_conf("a\n{\n# [\nb = [ 1,\n2,\n]\nc\n= 'x\ny' d = 1 }", "F")
    assert {name: (each.values, each.line) for name, each in conf.settings.items()} == {
        "a/b": (("1", "2"), 4),
        "a/c": (("x\ny",), 7),
        "a/d": (("1",), 9),
    }


@pytest.mark.parametrize(("text", "on"), [("1", True), ("yes", True), ('"True"', True), ("0", False), ("no", False)])
def test_booleans_of_lvm(text, on):
    assert parse_lvm_conf(f"global {{ use_lvmlockd = {text} }}", "F").is_on("global/use_lvmlockd") is on
    assert not parse_lvm_conf("", "F").is_on("global/use_lvmlockd")


def test_the_lvm_conf_of_this_distribution_parses():
    path = Path("/etc/lvm/lvm.conf")
    if not path.exists():
        pytest.skip("no lvm.conf on this machine")
    assert parse_lvm_conf(path.read_text(), str(path)).sources == (str(path),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("global {", "line 1: section global is not closed"),
        ("}", "line 1: a brace without a section"),
        ("a = [ 1,\n", "line 1: an array is not closed"),
        ("global {\nnonsense\n}", "line 2: neither a section nor"),
        ("a {\nb {\n}\n\n", "line 1: section a is not closed"),
        ("a = [\n1\n}\n", "line 1: an array is not closed"),
        ("a {\nb =\n}", "line 2: neither a section nor"),
        ('a = 1\nb = "x\n', "line 2: a string is not closed"),
    ],
)
def test_what_is_no_lvm_conf_is_one_sentence(text, sentence):
    with pytest.raises(UsageError) as caught:
        parse_lvm_conf(text, "F")
    assert f"lvm_conf: F {sentence}" in str(caught.value)


def test_dlm_conf():
    conf = parse_dlm_conf((GOOD / "dlm.conf").read_text(), "F")
    assert [(each.name, each.agent, each.line) for each in conf.devices] == [
        ("halvm1", "fence_halvm", 4),
        ("halvm2", "fence_halvm", 8),
    ]
    assert [(each.device, each.node_id) for each in conf.connects] == [("halvm1", "1"), ("halvm2", "2")]
    assert conf.unfence == {"halvm1": 6, "halvm2": 10}
    with pytest.raises(UsageError, match="dlm_conf: F line 2: nonsense is no word"):
        parse_dlm_conf("\nnonsense x\n", "F")


def test_xml_keeps_the_line_and_the_text_of_each_element():
    document = parse_xml("<a>\n<b>x</b>\n</a>", "s", "F")
    (child,) = document.root
    assert (document.lines[child], child.text) == (2, "x")
