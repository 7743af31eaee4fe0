# SPDX-License-Identifier: Apache-2.0
"""Which names of LUNs are refused, since another node may give them to another LUN."""

from pathlib import Path

import pytest

from fencer.errors import UsageError
from fencer.storage.lun import find_luns
from fencer.storage.lun_names import refuse_names_of_one_node
from tests.storage.fake_devices import HEX_A, WWID_A, FakeDevices, one, two_luns

BY_OTHERS = (
    "/dev/disk/by-path/ip-10.0.0.1:3260-iscsi-iqn.2026-11.example:t-lun-0",
    "/dev/block/8:16",
    "/dev/char/21:1",
    "/dev/mapper/mpath0",
    "/dev/disk/by-diskseq/5",
    "/dev/disk/by-uuid/0ba0d2d2-42c5-4d3c-a3a2-1c2f8a6f2a01",
    "/dev/disk/by-label/shared",
    "/dev/disk/azure/scsi1/lun0",
    "/dev/disk/by-id/dm-name-mpathb",
    "/dev/disk/by-id/dm-name-shared",
    "/dev/disk/by-id/lvm-pv-uuid-Kc3hZa-0Y1s",
    "/dev/disk/by-id/scsi-mpathb",
    "/dev/disk/by-id/edd-int13_dev81",
    "/dev/./disk/by-id//dm-name-mpathb",
)
"""Names of LUN A that are made of something else than its designators."""


@pytest.fixture
def node(tmp_path: Path) -> FakeDevices:
    return two_luns(tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        "/dev/sdb",
        "/dev/sg1",
        "//dev/sdb",
        "/dev/../dev/sdb",
        "/dev/sdc",
        "/dev/dm-0",
        "/dev/mapper/mpathb",
        *BY_OTHERS,
    ],
)
def test_a_name_that_another_node_may_give_to_another_lun_is_refused(node, entry):
    node.links |= dict.fromkeys(("//dev/sdb", "/dev/../dev/sdb", *BY_OTHERS), "sdb")
    found = one(node, entry)
    with pytest.raises(UsageError) as caught:
        refuse_names_of_one_node([found])
    assert str(caught.value) == (
        f"devices: {entry} is LUN {found.wwid} on this node, and may be another LUN on another node: give {found.wwid}"
    )
    refuse_names_of_one_node(find_luns([found.wwid], node).luns)  # the remedy helps


@pytest.mark.parametrize(
    "entry",
    [
        f"/dev/disk/by-id/wwn-0x{HEX_A}",
        f"/dev/disk/by-id/scsi-3{HEX_A}",
        f"/dev/disk/by-id/dm-uuid-mpath-3{HEX_A}",
        "/dev/disk/by-id/scsi-SLIO-ORG_shared_0123",
        WWID_A,
        f"3{HEX_A}",
        "/dev/shared",
        "/dev/diskgroup/shared",
        "/dev/sds/shared",
        "/dev/mapper/shared",
        "/dev/mapper/mpath-shared",
        f"/dev/mapper/3{HEX_A}",
    ],
)
def test_a_name_that_means_the_same_on_all_nodes_is_accepted(node, entry):
    node.links[entry] = "sdb"
    refuse_names_of_one_node([one(node, entry)])


def test_an_alias_that_multipathd_keeps_in_a_file_of_this_node_is_refused(node, tmp_path):
    """As with alias_prefix san in multipath.conf. An alias of multipath.conf itself is in no such file."""
    bindings = tmp_path / "bindings"
    bindings.write_text("# Multipath bindings, Version : 1.0\n\nsana 360014050000000000000000000000002\n")
    node.links |= {"/dev/mapper/sana": "dm-0", "/dev/mapper/san": "dm-0"}
    files = [str(tmp_path / "none"), str(bindings)]
    with pytest.raises(UsageError, match=r"/dev/mapper/sana is LUN .* on this node, and may be another"):
        refuse_names_of_one_node([one(node, "/dev/mapper/sana")], files)
    refuse_names_of_one_node([one(node, "/dev/mapper/san")], files)


@pytest.mark.parametrize("wwid", ["t10.ATA     QEMU HARDDISK   1  ", "iqn.2026-11.example:t,L,0x1", "t10.A,B"])
def test_a_lun_whose_wwid_the_option_does_not_take_is_to_be_named_by_its_link(node, wwid):
    node.disk("sdt", wwid)
    with pytest.raises(UsageError, match=r"give its link /dev/disk/by-id/scsi-\.\.\.$"):
        refuse_names_of_one_node([one(node, "/dev/sdt")])


@pytest.mark.parametrize("wwid", ["eui.0025385a81b04d01", "eui.0025385a81b04d0100000001", "NAA.6001405ABC", "t10.LIO"])
def test_the_wwid_to_give_is_one_that_the_option_takes(node, wwid):
    """sysfs shows a SCSI name string as the target writes it, in capitals perhaps."""
    node.disk("sdt", f"{wwid:0<36}" if wwid.startswith("NAA") else wwid)
    found = one(node, "/dev/sdt")
    with pytest.raises(UsageError, match=f"give {found.wwid}$"):
        refuse_names_of_one_node([found])
    assert one(node, found.wwid)._replace(name="/dev/sdt") == found
