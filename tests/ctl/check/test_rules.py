# SPDX-License-Identifier: Apache-2.0
"""Rules that need more than one file: the machine, its volume groups, what the other programs say."""

import argparse
from pathlib import Path

import pytest

from fencer import __version__
from fencer.ctl.check import machine
from fencer.ctl.check.cluster_rules import copies_findings
from fencer.ctl.check.configuration import Files, parse
from fencer.ctl.check.corosync_rules import corosync_findings
from fencer.ctl.check.devices import Device
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
