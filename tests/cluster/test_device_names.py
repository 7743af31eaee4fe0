# SPDX-License-Identifier: Apache-2.0
import pytest

from fencer.cluster.device_names import logical_volume_of


@pytest.mark.parametrize(
    ("device", "volume"),
    [
        ("/dev/shared_vg/ha_lv", ("shared_vg", "ha_lv")),
        ("/dev/mapper/shared_vg-ha_lv", ("shared_vg", "ha_lv")),
        ("/dev/mapper/shared--vg-ha--lv", ("shared-vg", "ha-lv")),
        ("/dev/mapper/mpatha", None),
        ("/dev/mapper/", None),
        ("/dev/disk/by-id", None),
        ("/dev/sdb1", None),
        ("UUID=1", None),
        ("", None),
    ],
)
def test_which_volume_a_device_file_is(device, volume):
    assert logical_volume_of(device) == volume


def test_a_known_group_is_read_by_its_name():
    assert logical_volume_of("/dev/mapper/a--b-c", ("a", "a-b")) == ("a-b", "c")
