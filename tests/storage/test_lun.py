# SPDX-License-Identifier: Apache-2.0
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fencer.agent.facts import Facts
from fencer.agent.plan import make_plan
from fencer.agent.request import Caller, Request, StorageRequest
from fencer.agent.verdict import judge
from fencer.errors import FenceError, StorageError, UsageError
from fencer.model import Action, Proof, ProofPolicy
from fencer.storage.arbitration import Contest
from fencer.storage.block_devices import KernelDevice
from fencer.storage.logical_unit import LogicalUnit
from fencer.storage.lun import Lun, find_luns, holders_active
from fencer.storage.procedure import Opened, fence
from fencer.storage.settings import StorageSettings
from tests.storage.fake_devices import HEX_A, WWID_A, WWID_B, FakeDevices, one, two_luns
from tests.storage.fake_target import FakeTarget
from tests.storage.nodes import A, B, deadline, lun, registered


@pytest.fixture
def node(tmp_path: Path) -> FakeDevices:
    return two_luns(tmp_path)


PLAIN = Lun(WWID_A, "/dev/sdb", ("/dev/sdb",), None, "sdb")


def multipath(name: str) -> Lun:
    return Lun(WWID_B, name, ("/dev/sdc", "/dev/sdd"), "/dev/mapper/mpathb", "dm-0")


def refusal(node, *entries, volumes=()):
    with pytest.raises(UsageError) as caught:
        find_luns(entries, node, physical_volumes=volumes)
    return str(caught.value)


def test_plain_disk(node):
    assert one(node, "/dev/sdb") == PLAIN


def test_links_keep_the_name_the_operator_wrote(node):
    for link in ("/dev/disk/by-path/ip-10.0.0.1", f"/dev/disk/by-id/wwn-0x{HEX_A}", "/dev/shared"):
        node.links[link] = "sdb"
        assert one(node, link) == Lun(WWID_A, link, ("/dev/sdb",), None, "sdb")


def test_scsi_generic_stands_for_its_disk(node):
    assert one(node, "/dev/sg1").paths == ("/dev/sdb",)
    assert one(node, "/dev/sg2") == multipath("/dev/sg2")


def test_scsi_generic_without_a_disk_driver_is_the_path(node):
    node.disk("", "naa.6001405000000003", sg="sg9", bound=False)
    assert one(node, "/dev/sg9") == Lun("naa.6001405000000003", "/dev/sg9", ("/dev/sg9",), None, "")


@pytest.mark.parametrize("entry", ["/dev/mapper/mpathb", "/dev/dm-0", "/dev/sdc", "/dev/sdd"])
def test_multipath_by_its_map_or_by_any_path_is_all_paths(node, entry):
    assert one(node, entry) == multipath(entry)


def test_multipath_known_to_udev_only(node):
    node.disk("sde", "naa.6001405000000005")
    node.mapped("dm-5", "mpathe", "mpath-3x", "sde", in_sysfs=False)
    assert one(node, "/dev/sde").multipath == "/dev/mapper/mpathe"


@pytest.mark.parametrize(
    "entry",
    [
        WWID_A,
        WWID_A.upper().replace("NAA", "naa"),
        f"wwn-0x{HEX_A}",
        f"0x{HEX_A}",
        f"3{HEX_A}",
        f"scsi-3{HEX_A}",
        f"/dev/disk/by-id/wwn-0x{HEX_A}",  # udevd has not made it
        f"/dev/disk/by-id/scsi-3{HEX_A}",
    ],
)
def test_bare_wwid(node, entry):
    assert one(node, entry) == Lun(WWID_A, entry, ("/dev/sdb",), None, "sdb")


def test_bare_wwid_of_a_multipath_map(node):
    assert one(node, WWID_B) == multipath(WWID_B)


def test_bare_wwid_is_all_paths_without_multipath_too(node):
    node.disk("sdaa", WWID_A)
    assert one(node, WWID_A).paths == ("/dev/sdb", "/dev/sdaa")


def test_t10_wwid_with_spaces(node):
    node.disk("sdt", "t10.ATA     QEMU HARDDISK   1  ")
    assert one(node, "t10.ATA     QEMU HARDDISK   1").paths == ("/dev/sdt",)


@pytest.mark.parametrize("properties", [{"ID_WWN_WITH_EXTENSION": f"0x{HEX_A}"}, {"ID_SERIAL": f"3{HEX_A}"}])
def test_wwid_from_udev_where_the_kernel_has_none(tmp_path, properties):
    node = FakeDevices(tmp_path)
    node.disk("sdb", None, **properties)
    assert one(node, "/dev/sdb") == PLAIN


def test_order_is_by_wwid_not_as_written(node):
    assert [lun.wwid for lun in find_luns(["/dev/sdc", "/dev/sdb"], node).luns] == [WWID_A, WWID_B]


def test_iscsi_urls_pass_untouched(node):
    found = find_luns(["iscsi://h:3260/iqn.x/1", " /dev/sdb ", "", "iscsi://h:3260/iqn.x/0"], node)
    assert found.iscsi == ("iscsi://h:3260/iqn.x/1", "iscsi://h:3260/iqn.x/0")
    assert found.luns == (PLAIN,)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["/dev/sdc", "/dev/sdd"], f"devices: /dev/sdc and /dev/sdd are the same LUN {WWID_B}: give it once"),
        (["/dev/sdb", WWID_A], f"devices: /dev/sdb and {WWID_A} are the same LUN {WWID_A}: give it once"),
        (["/dev/sdb", "/dev/sg1"], "devices: /dev/sdb and /dev/sg1 are the same LUN"),
        (["iscsi://h/i/0", "iscsi://h/i/0"], "devices: iscsi://h/i/0 is given twice"),
    ],
)
def test_one_lun_twice_names_both(node, entries, message):
    assert refusal(node, *entries).startswith(message)


def stacked(node):
    node.partition("sdb", "sdb1")
    node.mapped("dm-1", "shared_vg-ha_lv", "LVM-abc", "sdb1")
    node.mapped("dm-2", "mpathb-part1", "part1-mpath-36001405", "dm-0")
    node.mapped("dm-3", "secret", "CRYPT-LUKS2-x", "dm-2")
    node.disk("vda", None, bus="virtio")
    node.disk("nvme0n1", "eui.0025385a81b04d01", bus="nvme")
    node.disk("sr0", "naa.6001405000000007", scsi_type="5")
    node.disk("sdw", None)
    node._add("loop0", node.sys / "devices/virtual/block/loop0")
    node._add("md0", node.sys / "devices/virtual/block/md0")
    (node.devices["md0"].sys_path / "md").mkdir()
    node._add("null", node.sys / "devices/virtual/mem/null", subsystem="mem")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("/dev/mapper/shared_vg-ha_lv", "is a logical volume: give vg= or the disk"),
        ("/dev/sdb1", "is a partition: give the whole disk"),
        ("/dev/mapper/mpathb-part1", "is a partition: give the whole disk"),
        ("/dev/dm-3", "is a mapped device, not a disk: give the SCSI disk below it"),
        ("/dev/md0", "is a mapped device, not a disk: give the SCSI disk below it"),
        ("/dev/vda", "is not a SCSI disk: give a shared SCSI disk, or leave devices out"),
        ("/dev/nvme0n1", "is not a SCSI disk: give"),
        ("/dev/loop0", "is not a SCSI disk: give"),
        ("/dev/sr0", "is not a SCSI disk: give"),
        ("/dev/sdw", "has no WWID, so nodes cannot agree on it: give the LUN a serial number"),
        ("/dev/null", "is not a block device: give"),
        ("/dev/file", "is not a block device: give"),
        ("/dev/dead", "cannot be looked up (No such device): connect the storage"),
        ("/dev/sdz", "does not exist on this node: connect the storage, or correct the name"),
        ("/dev/sd\0", "is not a path: correct it"),
        ("sdb", "is neither a path nor a WWID: give /dev/"),
        ("naa.123", "is neither a path nor a WWID"),
        ("naa.6001405000000999", "is not visible on this node: connect the storage, or correct the WWID"),
        ("/dev/disk/by-id/wwn-0x6001405000000999", "is not visible on this node"),
    ],
)
def test_what_is_no_shared_disk_is_one_sentence_with_a_remedy(node, entry, message):
    stacked(node)
    assert refusal(node, entry).startswith(f"devices: {entry} {message}")


@pytest.mark.parametrize("entry", ["/dev/vda", "/dev/null"])
def test_who_has_no_power_says_what_else_helps(node, entry):
    stacked(node)
    with pytest.raises(UsageError, match=r"is not a [A-Za-z]+ (disk|device): give another$"):
        find_luns([entry], node, no_scsi_remedy="give another")


def test_map_without_a_path_is_lost_storage(node):
    node.mapped("dm-7", "mpathz", "mpath-36001405")
    with pytest.raises(StorageError, match="/dev/mapper/mpathz: multipath map dm-7 has no path on this node"):
        find_luns(["/dev/mapper/mpathz"], node)


def test_path_that_vanishes_while_we_look_is_left_out(node):
    del node.devices["sdd"]
    assert one(node, "/dev/mapper/mpathb").paths == ("/dev/sdc",)


def test_map_over_different_luns_is_refused(node):
    node.disk("sde", "naa.6001405000000005")
    node.stack("dm-0", "sde")
    assert "has paths to different LUNs (/dev/sdc" in refusal(node, "/dev/dm-0")


def test_map_over_nvme_is_refused(node):
    node.disk("nvme0n1", "eui.0025385a81b04d01", bus="nvme")
    node.mapped("dm-8", "mpathn", "mpath-eui.0025385a81b04d01", "nvme0n1")
    assert "over other than SCSI disks" in refusal(node, "/dev/dm-8")


@pytest.mark.parametrize(
    ("volume", "wwids"),
    [
        ("/dev/sdb", [WWID_A]),
        ("/dev/sdb1", [WWID_A]),
        ("/dev/mapper/mpathb", [WWID_B]),
        ("/dev/mapper/mpathb-part1", [WWID_B]),
        ("/dev/mapper/secret", [WWID_B]),
    ],
)
def test_physical_volume_stands_for_the_luns_below(node, volume, wwids):
    stacked(node)
    assert [lun.wwid for lun in find_luns([], node, physical_volumes=[volume]).luns] == wwids


def test_physical_volume_on_a_mirror_is_both_luns(node):
    stacked(node)
    node.array("md0", "sdb", "dm-0")
    found = find_luns([], node, physical_volumes=["/dev/md0"])
    assert [lun.wwid for lun in found.luns] == [WWID_A, WWID_B]
    assert [lun.name for lun in found.luns] == ["/dev/md0 (sdb)", "/dev/md0 (sdc)"]


def fenced(luns, own, target):
    """The verdict and facts of a fence by storage alone."""
    storage = StorageRequest(StorageSettings((), "shared_vg", own), target)
    facts = Facts()

    def emit(*several):
        for what in several:
            facts.add(what)

    contest = Contest.on(storage.settings, own, target, slot_s=0.0, repair=True)
    fence(Opened(luns), contest, storage.arbitration, "shared_vg", emit, deadline())
    plan = make_plan(Request(Action.OFF, Caller.CLUSTER, "serv-0002", False, ProofPolicy.STORAGE, storage=storage))
    return judge(plan, facts), facts


def test_a_fence_over_both_halves_of_a_mirror_is_a_proof(node):
    stacked(node)
    node.array("md0", "sdb", "dm-0")
    targets = [registered("a", "b", target=FakeTarget(wwid=wwid)) for wwid in (WWID_A, WWID_B)]
    luns = tuple(
        LogicalUnit(found.wwid, found.name, lun(target, "a").nexuses)
        for found, target in zip(find_luns([], node, physical_volumes=["/dev/md0"]).luns, targets, strict=True)
    )
    verdict, facts = fenced(luns, A, B)
    assert verdict.proofs == (Proof.STORAGE,)
    assert sorted(facts.isolated) == ["/dev/md0 (sdb)", "/dev/md0 (sdc)"]
    # What arbitration took on the first LUN is not taken for what happened on the other one.
    assert not any(isolated.already for isolated in facts.isolated.values())
    assert [target.keys for target in targets] == [[A], [A]]


def test_two_nodes_that_have_different_luns_both_win():
    """A known limit, and why names that may be another LUN on another node are refused. Two volume groups of one name,
    and a target that numbers its LUNs for each initiator, lead to it, too."""
    on_a, on_b = (registered(name, target=FakeTarget(wwid=wwid)) for name, wwid in (("a", WWID_A), ("b", WWID_B)))
    for luns, own, target in (((lun(on_a, "a"),), A, B), ((lun(on_b, "b"),), B, A)):
        verdict, facts = fenced(luns, own, target)
        assert verdict.proofs == (Proof.STORAGE,)
        assert all(isolated.already for isolated in facts.isolated.values())


LACKS_ONE = "/dev/md0: array md0 lacks 1 of its members"


@pytest.mark.parametrize(
    ("attribute", "content", "missing"),
    [
        ("raid_disks", "1\n", []),
        ("degraded", "1\n", []),  # the member is there, and being rebuilt
        ("raid_disks", "2\n", [LACKS_ONE]),
        ("raid_disks", "1 (2)\n", [LACKS_ONE]),
        ("dev-sdb/slot", "none\n", [LACKS_ONE]),  # a spare
        ("raid_disks", "", ["/dev/md0: array md0 lacks an unknown number of its members"]),
    ],
)
def test_an_array_that_lacks_a_member_names_what_is_not_known(node, attribute, content, missing):
    stacked(node)
    node.array("md0", "sdb")
    (node.devices["md0"].sys_path / "md" / attribute).write_text(content)
    found = find_luns([], node, physical_volumes=["/dev/md0"])
    assert [lun.wwid for lun in found.luns] == [WWID_A]
    assert [text.partition(", ")[0] for text in found.missing] == missing


def test_a_member_without_a_link_in_slaves_is_a_lun_below(node):
    stacked(node)
    node.array("md0", "sdb", "dm-0")
    (node.devices["md0"].sys_path / "slaves" / "sdb").unlink()
    found = find_luns([], node, physical_volumes=["/dev/md0"])
    assert [lun.wwid for lun in found.luns] == [WWID_A, WWID_B]


def test_a_disk_that_has_gone_below_a_physical_volume_names_what_is_not_known(node):
    """md holds a member that the kernel has deleted until it next uses it."""
    stacked(node)
    node.array("md0", "sdb", "dm-0")
    node.mapped("dm-4", "linear", "", "md0")
    del node.devices["sdb"]
    found = find_luns([], node, physical_volumes=["/dev/mapper/linear"])
    assert [lun.wwid for lun in found.luns] == [WWID_B]
    assert [text.partition(", so")[0] for text in found.missing] == [
        "/dev/mapper/linear: sdb, on which it lies, has gone from this node"
    ]


@pytest.mark.parametrize("volume", ["/dev/sdb1", "/dev/md0"])
def test_a_physical_volume_of_which_nothing_is_left_is_lost_storage(node, volume):
    stacked(node)
    node.array("md0", "sdb")
    del node.devices["sdb"]
    with pytest.raises(StorageError, match=f"{volume}: no disk on which it lies is on this node"):
        find_luns([], node, physical_volumes=[volume])


def test_a_mirror_beside_its_half_leaves_the_names_as_they_are(node):
    stacked(node)
    node.array("md0", "sdb", "dm-0")
    found = find_luns(["/dev/sdb"], node, physical_volumes=["/dev/md0"])
    assert [lun.name for lun in found.luns] == ["/dev/sdb", "/dev/md0"]


def test_a_name_that_another_entry_has_already_is_not_given_again(node):
    stacked(node)
    node.array("md0", "sdb", "dm-0")
    node.disk("sde", "naa.6001405000000005")
    node.links["/dev/md0 (sdb)"] = "sde"
    found = find_luns(["/dev/md0 (sdb)"], node, physical_volumes=["/dev/md0"])
    assert {lun.wwid: lun.name for lun in found.luns} == {
        "naa.6001405000000005": "/dev/md0 (sdb)",
        WWID_A: f"/dev/md0 ({WWID_A})",
        WWID_B: "/dev/md0 (sdc)",
    }


class MovingDevices(FakeDevices):
    """Every link leads to sdc from the second time on."""

    def from_device_file(self, path: str) -> KernelDevice:
        device = super().from_device_file(path)
        self.links[path] = "sdc"
        return device


def test_one_entry_that_led_to_two_luns_gives_two_names(tmp_path):
    node = MovingDevices(tmp_path)
    node.disk("sdb", WWID_A)
    node.disk("sdc", WWID_B)
    node.links["/dev/shared"] = "sdb"
    found = find_luns(["/dev/shared"], node, physical_volumes=["/dev/shared"])
    assert [lun.name for lun in found.luns] == ["/dev/shared (sdb)", "/dev/shared (sdc)"]


def test_two_physical_volumes_on_one_lun_are_one_lun(node):
    node.partition("sdb", "sdb1")
    node.partition("sdb", "sdb2")
    (lun,) = find_luns([], node, physical_volumes=["/dev/sdb1", "/dev/sdb2"]).luns
    assert lun.paths == ("/dev/sdb",)


def test_two_physical_volumes_by_two_paths_of_one_lun_are_refused(node):
    node.disk("sde", WWID_A)
    message = refusal(node, volumes=["/dev/sdb", "/dev/sde"])
    assert message == f"vg: /dev/sdb and /dev/sde are the same LUN {WWID_A} by different paths: set up multipath for it"


@pytest.mark.parametrize(
    ("volume", "message"),
    [("/dev/vda", "vg: /dev/vda is not a SCSI disk"), ("/dev/md0", "vg: /dev/md0 lies on no disk")],
)
def test_physical_volume_that_is_not_shared_is_refused(node, volume, message):
    stacked(node)
    assert refusal(node, volumes=[volume]).startswith(message)


def test_nothing_active_on_idle_luns(node):
    assert not holders_active(PLAIN, node)
    assert not holders_active(multipath("x"), node)


def test_volume_group_active_on_a_disk(node):
    node.mapped("dm-1", "shared_vg-ha_lv", "LVM-abc", "sdb")
    assert holders_active(PLAIN, node)
    assert not holders_active(multipath("x"), node)


def test_volume_group_active_on_a_map_seen_from_the_map_and_from_a_path(node):
    node.mapped("dm-1", "shared_vg-ha_lv", "LVM-abc", "dm-0")
    assert holders_active(multipath("x"), node)
    assert holders_active(Lun(WWID_B, "x", ("/dev/sdc",), None, "sdc"), node)


def test_volume_group_active_on_a_partition(node):
    stacked(node)
    assert holders_active(PLAIN, node)


def test_volume_group_active_above_crypt(node):
    stacked(node)
    node.mapped("dm-9", "vg-lv", "LVM-def", "dm-3")
    assert holders_active(multipath("x"), node)


def test_a_lun_that_went_away_has_nothing_active(node):
    assert not holders_active(Lun("naa.1", "/dev/sdq", ("/dev/sdq",), None, "sdq"), node)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(entry=st.text() | st.text().map("/dev/disk/by-id/{}".format) | st.text(alphabet="naeui.wt10x36-scsi").map(str))
def test_any_entry_is_found_or_a_fence_error(node, entry):
    with contextlib.suppress(FenceError):
        find_luns([entry], node)


def test_importing_does_not_load_pyudev():
    code = "import sys, fencer.storage.lun; sys.exit('pyudev' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
