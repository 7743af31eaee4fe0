# SPDX-License-Identifier: Apache-2.0
"""Block devices of this host by udev, and the kernel's state of a path."""

import errno
from pathlib import Path

import pytest

from fencer.errors import UsageError
from fencer.storage import block_devices
from fencer.storage.block_devices import UdevDevices, is_running


@pytest.fixture
def udev() -> UdevDevices:
    try:
        return UdevDevices()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.peer
def test_udev_finds_this_hosts_devices(udev):
    devices = list(udev.all())
    if not devices:
        pytest.skip("this host has no block device")
    for device in devices:
        assert udev.from_name(device.name) == device
        assert device.subsystem == "block"
        assert Path(device.sys_path).is_dir()
        if Path(device.node).exists():
            assert udev.from_device_file(device.node) == device


@pytest.mark.peer
def test_udev_says_what_is_wrong(udev, tmp_path):
    assert udev.from_name("nosuch") is None
    for path, expected in ((tmp_path / "none", errno.ENOENT), (tmp_path, errno.ENOTBLK)):
        with pytest.raises(OSError) as caught:
            udev.from_device_file(str(path))
        assert caught.value.errno == expected
    assert udev.from_device_file("/dev/null").subsystem == "mem"


@pytest.mark.parametrize(
    ("state", "running"),
    [("running", True), ("", True), ("blocked", False), ("offline", False), ("transport-offline", False)],
)
def test_the_kernels_word_on_a_path(monkeypatch, state, running):
    asked = []
    monkeypatch.setattr(block_devices, "read_attribute", lambda path: asked.append(path) or state)
    assert is_running("/dev/sdb") is running
    assert is_running("/dev/sg3") is running
    assert asked == ["/sys/class/block/sdb/device/state", "/sys/class/scsi_generic/sg3/device/state"]
