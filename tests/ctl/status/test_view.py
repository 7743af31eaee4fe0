# SPDX-License-Identifier: Apache-2.0
"""The view of the cluster's state: from captured output of the programs, and from the same with one thing changed."""

import io
import json
from pathlib import Path
from textwrap import indent

import pytest

from fencer.ctl.exit_status import CtlStatus, worst
from fencer.ctl.side_by_side import SourceReading
from fencer.ctl.sources.crm_mon import parse_crm_mon
from fencer.ctl.sources.local_files import Fences
from fencer.ctl.sources.luns import KeyOwner, LunReading
from fencer.ctl.sources.lvm_report import parse_lvs, parse_vgs
from fencer.ctl.sources.mounts import Mount
from fencer.ctl.sources.quorum import parse_quorum
from fencer.ctl.status.screen import COLUMNS, as_json, screen
from fencer.ctl.status.view import Remark, View, Volume, remarks
from fencer.journal.event import Event, EventKind, FenceOutcome
from fencer.model import Proof
from fencer.state.readings import SnapshotReading, SnapshotStatus
from fencer.terminal import Terminal

PLAIN = Terminal(io.StringIO(), {})
CAPTURED = Path(__file__).parents[1] / "captured"
KEYS = (
    KeyOwner("0xc82ae3c900000001", "serv-0001", holder=False),
    KeyOwner("0xc82ae3c900000002", "serv-0002", holder=True),
)
LUN = LunReading("/dev/sdb", "naa.6001405000000000", "write exclusive registrants only", KEYS, own=True)
FENCE = Event(
    1795818000.0, 2.1, EventKind.FENCE, "fence_halvm", "serv-0001", "serv-0002", "reboot", FenceOutcome.SUCCESS,
    (Proof.POWER, Proof.STORAGE),
)  # fmt: skip


def captured(name: str) -> str:
    return (CAPTURED / name).read_text()


def view(**changes: object) -> View:
    """serv-0001 of a healthy cluster, with some fields changed."""
    pacemaker = parse_crm_mon(captured("crm_mon-up.xml"))._replace(failures=())
    (volume,) = parse_lvs(captured("lvs.json"))
    mounted = Volume(volume, Mount(volume.dm_path, "/srv/ha", "ext4", read_only=False))
    healthy = View(
        1795818600.0, "lvm-cluster", "serv-0001", ("serv-0001", "serv-0002"), "",
        SourceReading(parse_quorum(captured("corosync-quorumtool.txt"))),
        SourceReading(pacemaker),
        ("shared_vg",),
        SourceReading(parse_vgs(captured("vgs.json"))),
        SourceReading((mounted,)),
        (("shared_vg", SourceReading((LUN,))),),
        SnapshotReading(SnapshotStatus.MISSING),
        Fences((FENCE,)),
    )  # fmt: skip
    return healthy._replace(**changes)


def test_a_healthy_cluster_on_one_screen():
    healthy = view()
    assert remarks(healthy) == ()
    text = screen(healthy, (), PLAIN)
    assert all(len(line) <= COLUMNS for line in text.splitlines())
    assert len(text.splitlines()) <= 24
    for part in (
        "lvm-cluster as seen by serv-0001",
        "Quorum     yes: 2 of 2 votes, 1 needed (2Node)",
        "serv-0001 online (this node), serv-0002 online (DC)",
        "shared_vg: owned by serv-0001; ha_lv here on /srv/ha (ext4)",
        "/dev/sdb naa.6001405000000000: write exclusive registrants only",
        "0xc82ae3c900000002 serv-0002, holds the reservation",
        "fence-serv-0001 (fence_halvm): Started on serv-0002",
        "fs (Filesystem): Started on serv-0001",
        "serv-0001: reboot of serv-0002: success, proved by power+storage, 2.1 s",
        "All is well.",
    ):
        assert part in " ".join(text.split()) or part in text, part


def changed(old: str, new: str) -> SourceReading[object]:
    text = captured("crm_mon-up.xml")
    assert old in text
    return SourceReading(parse_crm_mon(text.replace(old, new))._replace(failures=()))


def test_the_screen_in_the_docs_is_current():
    docs = (Path(__file__).parents[3] / "docs/halvmctl.md").read_text()
    assert indent(screen(view(), (), PLAIN), "    ") in docs


FAULT, WARNING, UNKNOWN = CtlStatus.FAULT, CtlStatus.WARNING, CtlStatus.UNKNOWN
UP = SourceReading(parse_crm_mon((CAPTURED / "crm_mon-up.xml").read_text()))


def with_lun(**changes: object) -> dict[str, object]:
    """The LUN with some fields changed."""
    return {"luns": (("shared_vg", SourceReading((LUN._replace(**changes),))),)}


QUORUM = parse_quorum((CAPTURED / "corosync-quorumtool.txt").read_text())


@pytest.mark.parametrize(
    ("changes", "status", "part"),
    [
        ({"problem": "cluster_conf: F: line 3: no"}, FAULT, "line 3"),
        ({"nodes": (), "luns": ()}, UNKNOWN, "no cluster.conf and no corosync.conf"),
        ({"quorum": SourceReading(problem="corosync-quorumtool: no answer within 10 s")}, UNKNOWN, "no answer"),
        ({"pacemaker": SourceReading(problem="crm_mon: Connection refused")}, UNKNOWN, "Connection refused"),
        ({"quorum": SourceReading(QUORUM._replace(quorate=False))}, FAULT, "no quorum"),
        ({"quorum": SourceReading(QUORUM._replace(members=QUORUM.members[:1]))}, WARNING, "does not see serv-0002"),
        ({"pacemaker": changed('name="serv-0002" id="2" with_quorum', 'id="2" with_quorum')}, FAULT, "no DC"),
        ({"pacemaker": changed('maintenance-mode="false"', 'maintenance-mode="true"')}, WARNING, "maintenance-mode"),
        ({"pacemaker": changed('stonith-enabled="true"', 'stonith-enabled="false"')}, FAULT, "no node is ever fenced"),
        ({"pacemaker": changed("stonith:fence_halvm", "ocf:pacemaker:Dummy")}, FAULT, "no stonith device"),
        ({"pacemaker": changed('id="2" online="true"', 'id="2" online="false"')}, WARNING, "serv-0002 is OFFLINE"),
        ({"pacemaker": UP}, WARNING, "fence-serv-0002_start_0 failed on serv-0001"),
        ({"vgs": SourceReading(())}, FAULT, "shared_vg is not visible"),
        ({"vgs": SourceReading(problem="vgs: no answer within 10 s")}, UNKNOWN, "vgs: no answer"),
        (with_lun(reservation=""), FAULT, "no reservation is held"),
        (with_lun(own=False), FAULT, "this node's key is not registered"),
        (with_lun(keys=KEYS[:1]), WARNING, "serv-0002 is not registered"),
        (with_lun(problem="gone"), UNKNOWN, "/dev/sdb: gone"),
        ({"luns": (("shared_vg", SourceReading(problem="vg: no pvs")),)}, UNKNOWN, "no pvs"),
        ({"sidecar": SnapshotReading(SnapshotStatus.STALE, problem="it is old")}, WARNING, "does not run: it is old"),
        ({"sidecar": SnapshotReading(SnapshotStatus.MALFORMED, problem="torn")}, UNKNOWN, "torn"),
        ({"fences": Fences(problem="journal: locked")}, UNKNOWN, "journal: locked"),
        ({"fences": Fences((FENCE._replace(outcome=FenceOutcome.FAILURE),))}, WARNING, "did not succeed"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_told(changes, status, part):
    (found,) = remarks(view(**changes))
    assert found.status is status
    assert part in found.text


def test_a_key_of_no_known_node_is_told():
    lun = LUN._replace(keys=(*KEYS, KeyOwner("0x1", "", holder=False)))
    (found,) = remarks(view(luns=(("shared_vg", SourceReading((lun,))),)))
    assert "0x1 is the key of no node" in found.text


def test_a_group_that_is_active_here_and_belongs_to_the_other():
    (group,) = parse_vgs(captured("vgs.json"))
    (found,) = remarks(view(vgs=SourceReading((group._replace(system_id="serv-0002"),))))
    assert (found.status, found.text) == (FAULT, "shared_vg/ha_lv is active here, but the group belongs to serv-0002")
    assert any(
        "which is no node here" in each.text
        for each in remarks(view(vgs=SourceReading((group._replace(system_id="x"),))))
    )


def test_a_read_only_mount_is_a_fault():
    (volume,) = parse_lvs(captured("lvs.json"))
    mounted = Volume(volume, Mount(volume.dm_path, "/srv/ha", "ext4", read_only=True))
    assert remarks(view(volumes=SourceReading((mounted,)))) == (Remark(FAULT, "/srv/ha is mounted read-only"),)


def test_after_a_failover_the_faults_come_first():
    pacemaker = parse_crm_mon(captured("crm_mon-after-a-failover.xml"))
    found = remarks(view(pacemaker=SourceReading(pacemaker)))
    assert [each.status for each in found] == [FAULT, FAULT, WARNING]
    assert {each.text for each in found if each.status is FAULT} == {
        "stonith device fence-serv-0001 is stopped",
        "resource fs is stopped",
    }
    text = screen(view(), found, PLAIN)
    assert "All is well" not in text
    assert text.count("FAULT") == 2


def test_in_maintenance_what_follows_from_it_is_no_remark_of_its_own():
    """Pacemaker starts no device that was stopped with its node, and fences by it all the same."""
    pacemaker = parse_crm_mon(captured("crm_mon-after-a-failover.xml"))._replace(failures=(), maintenance=True)
    resources = tuple(each._replace(managed=False) for each in pacemaker.resources)
    found = remarks(view(pacemaker=SourceReading(pacemaker._replace(resources=resources))))
    assert {(each.status, each.text) for each in found} == {
        (WARNING, "maintenance-mode is on: nothing is recovered"),
        (WARNING, "stonith device fence-serv-0001 is stopped: it starts when maintenance-mode is off"),
        (FAULT, "resource fs is stopped"),
    }


def test_what_is_not_installed_is_left_out():
    bare = view(
        quorum=SourceReading(), pacemaker=SourceReading(), vgs=SourceReading(), volumes=SourceReading(), luns=(),
        fences=Fences(),
    )  # fmt: skip
    assert remarks(bare) == ()
    assert screen(bare, (), PLAIN).splitlines()[1:] == ["All is well."]


def test_names_that_a_program_gave_are_wrapped_and_printable():
    long = view(cluster="c" * 100, node="n\x1b[2J" + "m" * 90)
    text = screen(long, (Remark(FAULT, "x\x1b[2J " + "word " * 60),), PLAIN)
    assert "\x1b" not in text
    assert all(len(line) <= COLUMNS for line in text.splitlines())


def test_json_has_all_of_it():
    document = json.loads(json.dumps(as_json(view(), (), CtlStatus.FINE)))
    assert document["quorum"]["quorate"] is True
    assert document["luns"][0]["group"] == "shared_vg"
    assert document["luns"][0]["keys"][1]["holder"] is True
    assert document["volume_groups"][0]["system_id"] == "serv-0001"
    assert document["fences"][0]["proofs"] == ["power", "storage"]
    assert document["status"] == 0


def test_the_worst_counts():
    assert worst([]) is CtlStatus.FINE
    assert worst([UNKNOWN, WARNING]) is WARNING
    assert worst([UNKNOWN, WARNING, FAULT]) is FAULT
    assert worst([UNKNOWN]) is UNKNOWN
